"""An audit: kept results are computed again and compared. A number is worth something only if anyone can make it again.

The sample is drawn by a seed, in turn from strata: runs that are wide and fitted, near jamming, of the smallest and of
the largest output scale, and of every data set. A run must come out the same, unless its flow amplifies rounding, as
near jamming and at the smallest output scales. That is measured: where a run is off, what is allowed is the spread
that a relative change of the initial weights by 1e-15 makes. Of a net that is not trained, what was asked of its data
must come out the same. A run in single precision is computed again in double precision, and for it that change is 1e-7.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import torch

from . import data as datasets
from . import diffeo, infinite_width, machines, stripe
from .cache import Cache, Record
from .observables import N_delta, probe
from .setups import Setup, Trained
from .training import train
from .types import Params

TOLERANCE = 0.01  # of the predictor, in units of its root mean square
NEAR = 1.5  # near jamming: within this factor of the smallest width that fits
NOISE = {"double": 1e-15, "single": 1e-7}  # relative change of the initial weights, by the precision of the record
DISTURBED = 8  # runs from disturbed weights; their largest deviation, times MARGIN, is the spread
MARGIN = 3.0

WIDE, NEAR_JAMMING = "wide and fitted", "near jamming"
AGREES, DISAGREES, REFUSED, SKIPPED = "agrees", "disagrees", "refused", "skipped"


class Kept(NamedTuple):
    """A kept run that can be computed again."""

    key: str
    setup: Setup
    record: Record

    @property
    def fitted(self) -> bool:
        return int(self.record.columns.get("N_delta", 1)) == 0  # nobody asks for that of a net that is not trained

    @property
    def noise(self) -> float:
        """A relative change of the initial weights as large as rounding."""
        return NOISE[self.record.meta["how"].get("precision", "double")]


class Outcome(NamedTuple):
    """What became of one record. difference, allowed: of the predictor, in units of its root mean square.

    verdict: "agrees", "disagrees", "refused" (other data than the record's) or "skipped" (no data, or nothing to ask);
    reason says why.
    """

    key: str
    run: str
    stratum: str
    verdict: str
    difference: float | None = None
    allowed: float | None = None
    reason: str = ""


def eligible(cache: Cache) -> list[Kept]:
    """The runs in the cache that have what a comparison needs. Those that the guard stopped decide nothing."""
    found = []
    for key in cache.keys():
        record = cache.get(key)
        if record is None or "how" not in record.meta:
            continue
        untrained = record.meta["fields"].get("dynamics") == "none"
        if not {"probe", "capped", *([] if untrained else ["N_delta"])} <= record.columns.keys():
            continue
        if record.meta["versions"].get("probe") == probe.version and not record.columns["capped"]:
            with suppress(TypeError, ValueError):  # a later version's field, or one that is refused by now
                setup = Setup(**record.meta["fields"])
                if setup.key == key:  # else the results of such runs have changed, and nobody reads it any more
                    found.append(Kept(key, setup, record))
    return found


def strata(runs: list[Kept]) -> dict[str, list[Kept]]:
    """The runs by stratum; a run may be in several."""
    families = {run.key: _families(run) for run in runs}
    jams = {family for run in runs if not run.fitted for family in families[run.key]}
    smallest = dict.fromkeys(jams, math.inf)  # where every width fits, none is known to be near jamming
    for run in runs:
        for family in jams.intersection(families[run.key]) if run.fitted else ():
            smallest[family] = min(run.setup.h, smallest[family])
    far = {run.key: min((run.setup.h / smallest[one] for one in families[run.key] if one in jams), default=math.inf)
           for run in runs}  # fmt: skip
    scales = [run.setup.alpha_tilde for run in runs]
    found = {
        WIDE: [run for run in runs if run.fitted and far[run.key] > NEAR and run.setup.dynamics == "flow"],
        NEAR_JAMMING: [run for run in runs if 1 / NEAR <= far[run.key] <= NEAR],
        "smallest alpha_tilde": [run for run in runs if run.setup.alpha_tilde == min(scales)],
        "largest alpha_tilde": [run for run in runs if run.setup.alpha_tilde == max(scales)],
    }
    for name in sorted({run.setup.dataset for run in runs}):
        found[name] = [run for run in runs if run.setup.dataset == name]
    return found


def sample(groups: dict[str, list[Kept]], n: int, seed: int) -> list[tuple[str, Kept]]:
    """Up to n different runs, each with the stratum it was drawn from, in turn from every stratum."""
    rng = np.random.default_rng(seed)
    left = {name: [runs[i] for i in rng.permutation(len(runs))] for name, runs in groups.items()}
    drawn: dict[str, tuple[str, Kept]] = {}
    while len(drawn) < n and any(left.values()):
        for name, runs in left.items():
            while runs and runs[-1].key in drawn:
                runs.pop()
            if runs and len(drawn) < n:
                drawn[runs[-1].key] = name, runs[-1]
    return list(drawn.values())


def audit(cache: Cache, n: int, seed: int) -> Iterator[Outcome]:
    """Compute n kept runs again, drawn by `seed`, and yield how each compares."""
    groups = strata(eligible(cache))
    missing: dict[str, str] = {}  # a download is tried once
    for stratum, run in sample(groups, n, seed):
        name, checksum, theirs = run.setup.dataset, "", run.record.meta["provenance"]["checksum"]
        if name not in missing:
            try:
                checksum = _data(run.setup).checksum
            except (OSError, ValueError) as error:
                missing[name] = f"its data are not at hand: {error}"
        if name in missing:
            yield Outcome(run.key, _label(run.setup), stratum, SKIPPED, reason=missing[name])
        elif checksum != theirs:
            reason = f"it was made from data of checksum {theirs[:12]}, but those at hand have {checksum[:12]}."
            yield Outcome(run.key, _label(run.setup), stratum, REFUSED, reason=reason)
        else:
            yield compare(run, stratum)


def compare(run: Kept, stratum: str = "") -> Outcome:
    """Compute the run again. Where it is off by more than TOLERANCE, MARGIN times the measured spread is allowed."""
    label = _label(run.setup)
    if run.key != run.setup.key:
        return Outcome(run.key, label, stratum, DISAGREES, reason=f"its setup has the key {run.setup.key}")
    if run.setup.dynamics == "none":
        return _compare_numbers(run, stratum)
    then, unfit_then = run.record.columns["probe"].astype(float), int(run.record.columns["N_delta"])
    scale = max(np.sqrt((then**2).mean()), np.finfo(float).tiny)
    again, unfit = _measured(_train(run, 1))
    if bool(unfit.isnan()[0]):
        return Outcome(run.key, label, stratum, DISAGREES, reason="it was broken off this time")
    difference, off = np.abs(again[0] - then).max() / scale, abs(int(unfit[0]) - unfit_then)
    allowed, allowed_off = TOLERANCE, 0
    reason = f"N_delta {int(unfit[0])}, kept as {unfit_then}" if off else ""
    if not (difference <= allowed and off == 0):
        others, unfit_others = _measured(_train(run, DISTURBED, disturbed=True))
        off_by = (unfit_others - unfit).abs().nan_to_num(run.setup.P)  # a disturbed run may be broken off
        spread, spread_off = np.abs(others - again).max() / scale, int(off_by.max())
        reason = "; ".join(filter(None, [reason, f"a change of the weights by {run.noise} makes {spread:.1e}"]))
        both_jammed = min(unfit_then, int(unfit[0])) > 0
        allowed, jammed = max(TOLERANCE, MARGIN * spread), TOLERANCE * run.setup.P * both_jammed
        allowed_off = max(MARGIN * spread_off, jammed)
    agrees = difference <= allowed and off <= allowed_off
    return Outcome(run.key, label, stratum, AGREES if agrees else DISAGREES, float(difference), float(allowed), reason)


def _compare_numbers(run: Kept, stratum: str) -> Outcome:
    """Of a net that is not trained: every number that was asked of its data or its initial weights.

    difference: the largest relative one. What a machine says of a test set may differ by one of its points.
    """
    trained, differences = _train(run, 1), {}
    for module in (diffeo, infinite_width, machines, stripe):
        slack = 1.5 / max(run.setup.P_test, 1) if module is machines else 0.0
        for name in run.record.columns.keys() & vars(module).keys():
            if run.record.meta["versions"][name] == vars(module)[name].version:
                then = run.record.columns[name]
                with torch.no_grad():
                    off = np.abs(vars(module)[name](trained)[0].numpy() - then)
                scale = np.maximum(np.abs(then), np.finfo(float).tiny)
                differences[name] = float((np.maximum(off - slack, 0) / scale).max())
    if not differences:
        reason = "nothing that was asked of it can be asked again"
        return Outcome(run.key, _label(run.setup), stratum, SKIPPED, reason=reason)
    worst = max(differences, key=differences.get)
    verdict = AGREES if differences[worst] <= TOLERANCE else DISAGREES
    return Outcome(run.key, _label(run.setup), stratum, verdict, differences[worst], TOLERANCE, f"in {worst}")


def _families(run: Kept) -> tuple[frozenset, frozenset]:
    """What runs have in common that differ in width and seed alone, at the same alpha_tilde or at the same alpha."""
    others = ("h", "seed", "t_max", "alpha_tilde")
    rest = [(name, value) for name, value in run.setup.fields.items() if name not in others]
    scales = {"alpha_tilde": run.setup.alpha_tilde, "alpha": round(run.setup.alpha_tilde / math.sqrt(run.setup.h), 9)}
    return tuple(frozenset([*rest, scale]) for scale in scales.items())


def _label(setup: Setup) -> str:
    return f"{setup.dataset} P={setup.P} h={setup.h} alpha_tilde={setup.alpha_tilde:g} seed={setup.seed}"


def _data(setup: Setup) -> datasets.Data:
    names = ("dataset", "P", "P_test", "d")
    return datasets.load(
        *(getattr(setup, name) for name in names), setup.seed_data,
        P_kernel=setup.P_kernel, preprocessing=setup.preprocessing, pca_on=setup.pca_on,
    )


def _train(run: Kept, copies: int, *, disturbed: bool = False) -> Trained:
    """The run with the method that made it, on the CPU, which everyone has. Disturbed copies differ by its noise."""
    generator = torch.Generator().manual_seed(run.setup.seed)

    def disturb(w: Params) -> Params:
        noise = {name: torch.randn(x.shape, generator=generator, dtype=x.dtype) for name, x in w.items()}
        return {name: x * (1 + run.noise * noise[name]) for name, x in w.items()}

    how = {name: value for name, value in run.record.meta["how"].items() if name in ("method", "tol", "max_gradients")}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as sweep does: the nets are small
    try:
        with torch.no_grad():
            return train([run.setup] * copies, init=disturb if disturbed else None, **how)
    finally:
        torch.set_num_threads(threads)


def _measured(trained: Trained) -> tuple[np.ndarray, torch.Tensor]:
    with torch.no_grad():
        return probe(trained).numpy().astype(float), N_delta(trained)
