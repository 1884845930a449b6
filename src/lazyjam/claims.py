"""The paper's claims, and the verdict of a measurement on each.

    check("FIG4-C", slope, error)      # at the end of a chapter's cell: shows the verdict, and records it there

What a claim says, what is expected, and how close is close stand in claims.yml, committed before the measurement that
decides. The committed notebooks are the record of the verdicts: each carries one output of type MIME.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, SupportsFloat

import yaml
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, model_validator

from .spelling import nearest

REGISTRY = Path(__file__).with_name("claims.yml")
MIME = "application/vnd.lazyjam.claim+json"
REPRODUCED, NOT_REPRODUCED, OUT_OF_REACH = "reproduced", "not reproduced", "out of reach"
MOST_EXCLUDED = 0.2  # a fit that leaves out a larger share of the runs does not count as reproduced

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Claim(BaseModel):
    """One claim of the paper. `where` it stands, in which `window` and on which `data` it is decided, are in words.

    kind "value": the measurement is expected at `expected`, within `tolerance`. kind "ordering": it is expected beyond
    the threshold `expected`, on the side that `sense` tells.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Words
    chapter: Words
    where: Words
    statement: Words
    kind: Literal["value", "ordering"]
    expected: FiniteFloat
    tolerance: Annotated[FiniteFloat, Field(gt=0)] | None = None
    sense: Literal[">", "<"] | None = None
    window: Words
    data: Words

    @model_validator(mode="after")
    def _complete(self) -> "Claim":
        needs = "tolerance" if self.kind == "value" else "sense"
        if {name for name in ("tolerance", "sense") if getattr(self, name) is not None} != {needs}:
            raise ValueError("a value has a tolerance and no sense, an ordering has a sense and no tolerance.")
        return self

    @property
    def expectation(self) -> str:
        """What is expected, in symbols: "0 ± 0.1" or "> 0.5"."""
        return f"{self.expected:g} ± {self.tolerance:g}" if self.kind == "value" else f"{self.sense} {self.expected:g}"

    def line(self, found: str, verdict: str, reason: str) -> str:
        """The claim, what was found, its verdict and the reason, in one line."""
        why = f" ({reason})" if reason else ""
        return f"{self.id}: expected {self.expectation}, measured {found}: {verdict}{why}"

    @property
    def rule(self) -> str:
        """The hash of all that decides. A verdict carries it, so that one under an earlier rule is recognised."""
        decides = self.model_dump_json(include={"kind", "expected", "tolerance", "sense", "window", "data"})
        return hashlib.sha256(decides.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Verdict:
    """A claim, what was measured with its standard error, and "reproduced", "not reproduced" or "out of reach".

    Displayed, it shows itself in words and numbers, rounded to two significant digits of the error.
    """

    claim: Claim
    measured: float
    error: float
    verdict: str
    reason: str = ""

    def __str__(self) -> str:
        return self.claim.line(" ± ".join(rounded(self.measured, self.error)), self.verdict, self.reason)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What Jupyter shows and keeps: one line, a paragraph for the book, and the numbers for `lazyjam claims`."""
        claim, (measured, error) = self.claim, rounded(self.measured, self.error)
        why = f" {self.reason}" if self.reason else ""
        paragraph = (
            f"**{claim.id}** ({claim.where}): {claim.statement}\n\n"
            f"Expected {claim.expectation}, measured {measured} ± {error}: **{self.verdict}**.{why}"
        )
        record = {"id": claim.id, "expected": claim.expectation, "measured": _number(measured), "error": _number(error)}
        record |= {"verdict": self.verdict, "reason": self.reason, "rule": claim.rule}
        return {"text/plain": str(self), "text/markdown": paragraph, MIME: record}


@lru_cache
def claims(path: Path = REGISTRY) -> dict[str, Claim]:
    """All claims by id, in the order of the file. Raises ValueError for an entry that is incomplete."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {id: Claim(id=id, **entry) for id, entry in entries.items()}


def check(
    id: str, measured: SupportsFloat, error: SupportsFloat, *, excluded: SupportsFloat = 0.0, reason: str = ""
) -> Verdict:
    """The verdict of a measurement and its standard error on the claim `id`.

    excluded: the share of the runs that the measurement leaves out. reason: what we think is behind a failure, or what
    falls short. Raises ValueError for an unknown id, a negative error, or a share that is none.
    """
    known = claims()
    if id not in known:
        raise ValueError(f"unknown claim {id!r}{nearest(id, known)}")
    measured, error, excluded = float(measured), float(error), float(excluded)
    verdict = judge(known[id], measured, error)
    if not 0 <= excluded <= 1:
        raise ValueError(f"excluded is a share of the runs between 0 and 1, got {excluded}.")
    if verdict == REPRODUCED and excluded > MOST_EXCLUDED:
        short = f"The measurement leaves out {excluded:.0%} of the runs, more than {MOST_EXCLUDED:.0%}."
        verdict, reason = OUT_OF_REACH, f"{short} {reason}".strip()
    return Verdict(known[id], measured, error, verdict, reason)


def judge(claim: Claim, measured: float, error: float) -> str:
    """The rule. A value is reproduced within its tolerance if the error is at most half of it, and contradicted where
    it misses by more than the tolerance and two errors. An ordering holds, or is contradicted, beyond two errors.
    Anything else, and what is no number, is out of reach.
    """
    if error < 0:
        raise ValueError(f"the error of a measurement is zero or positive, got {error}.")
    if not (math.isfinite(measured) and math.isfinite(error)):
        return OUT_OF_REACH
    off = measured - claim.expected
    if claim.kind == "value":
        holds = abs(off) <= claim.tolerance and error <= claim.tolerance / 2
        fails = abs(off) > claim.tolerance + 2 * error
    else:
        ahead = off if claim.sense == ">" else -off
        holds, fails = ahead > 2 * error, ahead < -2 * error
    return REPRODUCED if holds else NOT_REPRODUCED if fails else OUT_OF_REACH


def rounded(value: float, error: float) -> tuple[str, str]:
    """Both to the second significant digit of the error; to three digits where that is zero or no number."""
    error = 0.0 if error <= 1e-12 * abs(value) else error  # the rounding of a mean of equal numbers
    if not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return f"{value:.3g}", f"{error:.3g}"
    last = int(f"{error:.1e}".partition("e")[2]) - 1  # the decimal place that is kept
    first = int(f"{value:.1e}".partition("e")[2]) if value else last
    if max(first, last + 1) < -4 or last > 4:  # 0.0000123 and 1230000 are better read as powers of ten
        digits = max(first - last, 0)
        return (f"{value:.{digits}e}" if first >= last else "0"), f"{error:.1e}"
    value, error = round(value, -last) + 0.0, round(error, -last)  # + 0.0 turns -0.0 into 0.0
    return f"{value:.{max(-last, 0)}f}", f"{error:.{max(-last, 0)}f}"


def _number(text: str) -> float | None:
    """A rounded number for JSON, which has no infinity and no NaN."""
    return value if math.isfinite(value := float(text)) else None
