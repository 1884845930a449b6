"""A diagnosis is computed once for everything it depends on, and read ever after."""

import numpy as np
import pytest

from lazyjam import Cache
from lazyjam.diagnosis import Diagnosis
from lazyjam.keeping import kept, pretended

ONE = Diagnosis(
    N=100, P=50, margin=1.0, kernel_change=np.array([0.1, 0.2]), N_delta=np.array([0, 3]),
    test_error=np.array([0.05, 0.06]), ensemble_error=0.04, gain=np.array([0.015, np.nan]),
    fluctuation=np.array([0.3, 0.1]),
)  # fmt: skip


def test_it_comes_back_as_it_was(tmp_path):
    asked = []

    def measure():
        asked.append(1)
        return ONE

    for _ in range(2):
        found = kept(Cache(tmp_path), measure, h=8, code="a cnn")
        assert str(found) == str(ONE) and type(found.N) is int and found.kernel_change.tolist() == [0.1, 0.2]
    assert len(asked) == 1
    kept(Cache(tmp_path), measure, h=8, code="another cnn")
    assert len(asked) == 2
    assert Cache(tmp_path).verify() == (2, [])


def test_what_is_pretended_has_the_shapes_of_two_nets():
    record = pretended()
    for name, column in record.columns.items():
        assert column.shape == np.shape(getattr(ONE, name)), name


def test_what_fails_is_not_kept(tmp_path):
    with pytest.raises(ZeroDivisionError):
        kept(Cache(tmp_path), lambda: 1 / 0, h=8)
    assert not Cache(tmp_path).keys()
