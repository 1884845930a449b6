"""Claims: the rule of the verdict on every branch, what a verdict shows, and that the registry is complete."""

import json
import math
import re

import numpy as np
import pytest
import xarray as xr
from IPython.core.formatters import DisplayFormatter

from lazyjam import claims as module
from lazyjam.claims import MIME, NOT_REPRODUCED, OUT_OF_REACH, REGISTRY, REPRODUCED, Claim, check, claims, judge

WORDS = dict(chapter="fig0", where="Fig. 0", statement="A slope is one half.", window="all of it", data="digits")
VALUE = Claim(id="T-value", kind="value", expected=0.5, tolerance=0.1, **WORDS)
ABOVE = Claim(id="T-above", kind="ordering", expected=2.0, sense=">", **WORDS)
BELOW = Claim(id="T-below", kind="ordering", expected=2.0, sense="<", **WORDS)


@pytest.fixture
def three(monkeypatch):
    monkeypatch.setattr(module, "claims", lambda: {claim.id: claim for claim in (VALUE, ABOVE, BELOW)})


@pytest.mark.parametrize(
    ("claim", "measured", "error", "verdict"),
    [
        (VALUE, 0.5, 0.0, REPRODUCED),
        (VALUE, 0.59, 0.05, REPRODUCED),  # within the tolerance, the error is half of it
        (VALUE, 0.41, 0.05, REPRODUCED),
        (VALUE, 0.5, 0.0501, OUT_OF_REACH),  # right, but it could be luck
        (VALUE, 0.61, 0.01, OUT_OF_REACH),  # outside, but not by two errors
        (VALUE, 0.65, 0.02, NOT_REPRODUCED),
        (VALUE, 0.35, 0.02, NOT_REPRODUCED),
        (VALUE, 0.65, 0.03, OUT_OF_REACH),
        (VALUE, 9.0, 1.0, NOT_REPRODUCED),  # an error above the tolerance can still contradict
        (VALUE, 0.601, 0.0, NOT_REPRODUCED),
        (ABOVE, 3.0, 0.4, REPRODUCED),
        (ABOVE, 3.0, 0.5, OUT_OF_REACH),
        (ABOVE, 2.0, 0.0, OUT_OF_REACH),
        (ABOVE, 2.1, 0.0, REPRODUCED),
        (ABOVE, 1.9, 0.0, NOT_REPRODUCED),
        (ABOVE, 1.0, 0.5, OUT_OF_REACH),
        (ABOVE, 1.0, 0.4, NOT_REPRODUCED),
        (BELOW, 1.0, 0.4, REPRODUCED),
        (BELOW, 1.0, 0.5, OUT_OF_REACH),
        (BELOW, 3.0, 0.4, NOT_REPRODUCED),
        (VALUE, math.nan, 0.01, OUT_OF_REACH),
        (VALUE, 0.5, math.nan, OUT_OF_REACH),
        (ABOVE, 3.0, math.nan, OUT_OF_REACH),
        (ABOVE, 3.0, math.inf, OUT_OF_REACH),
        (ABOVE, math.inf, 0.1, OUT_OF_REACH),
    ],
)
def test_the_rule(claim, measured, error, verdict):
    assert judge(claim, measured, error) == verdict


@pytest.mark.parametrize(("excluded", "verdict"), [(0.0, REPRODUCED), (0.2, REPRODUCED), (0.21, OUT_OF_REACH)])
def test_a_fit_that_leaves_out_too_much_is_not_reproduced(three, excluded, verdict):
    found = check("T-value", 0.5, 0.01, excluded=excluded, reason="Too few seeds.")
    assert found.verdict == verdict
    assert found.reason.endswith("Too few seeds.") and ("21%" in found.reason) == (verdict == OUT_OF_REACH)


def test_leaving_out_does_not_excuse_a_contradiction(three):
    assert check("T-value", 0.9, 0.01, excluded=0.5).verdict == NOT_REPRODUCED


@pytest.mark.parametrize("number", [np.float32, np.array, xr.DataArray])
def test_numbers_of_any_kind(three, number):
    verdict = check("T-value", number(0.5), number(0.01), excluded=number(0.0))
    assert verdict.verdict == REPRODUCED and type(verdict.measured) is type(verdict.error) is float


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (dict(id="T-valeu"), "unknown claim 'T-valeu': did you mean 'T-value'?"),
        (dict(id="XYZ"), "unknown claim 'XYZ': choose one of T-value, T-above, T-below."),
        (dict(error=-0.1), "the error of a measurement is zero or positive, got -0.1."),
        (dict(excluded=1.5), "excluded is a share of the runs between 0 and 1, got 1.5."),
        (dict(excluded=math.nan), "excluded is a share of the runs between 0 and 1, got nan."),
    ],
)
def test_bad_arguments_get_a_sentence(three, arguments, sentence):
    with pytest.raises(ValueError) as refusal:
        check(**dict(id="T-value", measured=0.5, error=0.01) | arguments)
    assert str(refusal.value) == sentence


@pytest.mark.parametrize(
    ("measured", "error", "shown"),
    [
        (0.123456, 0.00789, "0.1235 ± 0.0079"),
        (0.123456, 0.0996, "0.12 ± 0.10"),
        (-0.001, 0.05, "-0.001 ± 0.050"),
        (-0.0001, 0.05, "0.000 ± 0.050"),
        (123.456, 12.3, "123 ± 12"),
        (120, 349, "120 ± 350"),
        (1234567, 23456, "1235000 ± 23000"),
        (1.5e-7, 2.04e-8, "1.50e-07 ± 2.0e-08"),
        (0.31234, 0, "0.312 ± 0"),
        (0.0026041, 1.8e-17, "0.0026 ± 0"),
        (math.nan, 0.1, "nan ± 0.1"),
    ],
)
def test_numbers_are_rounded_to_two_digits_of_the_error(three, measured, error, shown):
    assert f"measured {shown}: " in str(check("T-value", measured, error))


def test_what_a_verdict_shows(three):
    bundle = check("T-value", 0.70321, 0.0213, reason="Too small a P.")._repr_mimebundle_()
    assert bundle == {
        "text/plain": "T-value: expected 0.5 ± 0.1, measured 0.703 ± 0.021: not reproduced (Too small a P.)",
        "text/markdown": "**T-value** (Fig. 0): A slope is one half.\n\n"
        "Expected 0.5 ± 0.1, measured 0.703 ± 0.021: **not reproduced**. Too small a P.",
        MIME: {
            "id": "T-value",
            "expected": "0.5 ± 0.1",
            "measured": 0.703,
            "error": 0.021,
            "verdict": "not reproduced",
            "reason": "Too small a P.",
            "rule": VALUE.rule,
        },
    }
    assert str(check("T-below", 1.0, 0.1)) == "T-below: expected < 2, measured 1.00 ± 0.10: reproduced"


def test_a_rule_is_all_that_decides_and_no_more():
    changes = [{"expected": 0.6}, {"tolerance": 0.2}, {"window": "half of it"}, {"data": "mnist"}]
    assert len({VALUE.rule, ABOVE.rule, BELOW.rule, *(VALUE.model_copy(update=one).rule for one in changes)}) == 7
    assert VALUE.model_copy(update={"statement": "In other words.", "where": "Fig. 1"}).rule == VALUE.rule


def test_jupyter_keeps_the_record(three):
    """What a notebook stores of a cell that ends with a verdict; JSON has no NaN."""
    data, _ = DisplayFormatter().format(check("T-value", math.nan, math.inf))
    assert data.keys() >= {"text/plain", "text/markdown", MIME}
    record = json.loads(json.dumps(data[MIME], allow_nan=False))
    assert (record["measured"], record["error"], record["verdict"]) == (None, None, OUT_OF_REACH)


# -- the registry ------------------------------------------------------------------------------------------------------


def test_the_registry_is_complete():
    known = claims()
    assert known and claims() is known
    assert list(known) == re.findall(r"^([^\s#][^:]*):", REGISTRY.read_text(), re.MULTILINE)  # YAML drops a double
    for id, claim in known.items():
        assert claim.id == id and re.fullmatch(r"[A-Z0-9]+-[A-Za-z0-9-]+", id)
        assert claim.statement.endswith("."), id
        assert check(id, claim.expected, 0.0).verdict == (REPRODUCED if claim.kind == "value" else OUT_OF_REACH)


@pytest.mark.parametrize(
    "change",
    [
        "window: ''", "window:", "tolerance: 0.0", "tolerance: -1", "tolerance: .inf", "expected: .nan", "sense: '>'",
        "kind: ordering", "kind: guess", "tolerances: 0.1", "data: 3", "statement: ' '",
    ],
)  # fmt: skip
def test_an_incomplete_entry_is_refused(tmp_path, change):
    entry = {name: f"{name}: {json.dumps(value)}" for name, value in VALUE.model_dump(exclude_none=True).items()}
    del entry["id"]
    path = tmp_path / "claims.yml"
    path.write_text("T-value:\n  " + "\n  ".join(entry.values()))
    assert claims(path) == {"T-value": VALUE}
    path = tmp_path / "changed.yml"
    path.write_text("T-value:\n  " + "\n  ".join((entry | {change.partition(":")[0]: change}).values()))
    with pytest.raises(ValueError, match="for Claim"):
        claims(path)
