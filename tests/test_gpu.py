"""A GPU computes what a CPU does. Skipped where there is none."""

import numpy as np
import pytest
import torch

from lazyjam import STANDARD, Cache, Setup, sweep, workers
from lazyjam.networks import ACTIVATIONS, ON_GPU, gpu_kernel
from lazyjam.training import compute

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
ONE = Setup(dataset="stripe", preprocessing="none", d=5, P=200, P_test=500, P_kernel=50)
EXACT = {"N_delta", "N_delta_at", "capped", "test_error"}


def columns(device: str, method: str, **fields) -> list[dict]:
    how = {"device": device, "method": method, "max_gradients": 20_000}
    setups = [ONE.replace(seed=seed, **fields) for seed in range(3)]
    return [record.columns for record in compute(setups, list(STANDARD), how).values()]


@pytest.mark.parametrize("method, h, alpha_tilde", [("implicit", 48, 1.0), ("implicit", 16, 100.0), ("rkc", 48, 100.0)])
def test_runs_that_fit_away_from_jamming_agree(method, h, alpha_tilde):
    pairs = zip(*(columns(device, method, h=h, alpha_tilde=alpha_tilde) for device in ("cpu", "cuda")), strict=True)
    for one, other in pairs:
        assert one["N_delta"] == 0 == other["N_delta"]
        for name in STANDARD:
            name = name.__name__
            np.testing.assert_allclose(other[name], one[name], rtol=1e-12 if name in EXACT else 1e-7, atol=0)
        np.testing.assert_allclose(other["probe"], one["probe"], atol=1e-6)


@pytest.mark.parametrize("activation", ON_GPU)
def test_the_language_of_a_gpu_says_the_same(activation):
    u = torch.linspace(-60, 60, 10_001, dtype=torch.float64)
    for ours, theirs in zip(gpu_kernel(activation)(u.cuda()), ACTIVATIONS[activation].both(u), strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-13, atol=1e-15)


def test_a_sweep_on_a_gpu(tmp_path, monkeypatch):
    """In the processes that share it."""
    monkeypatch.setattr(workers, "ALONE", 0.0)
    cache = Cache(tmp_path)
    axes = dict(h=[16, 48], alpha_tilde=[1.0, 100.0], seed=range(3))
    table = sweep(ONE, STANDARD, cache, device="cuda", progress=False, **axes)
    again = sweep(ONE, STANDARD, cache, progress=False, **axes)
    assert bool((table.N_delta == 0).all()) and table.identical(again)
    assert {cache.get(key).meta["how"]["device"] for key in cache.keys()} == {"cuda"}
