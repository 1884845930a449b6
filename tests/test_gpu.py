"""A GPU computes what a CPU does. Skipped where there is none."""

import numpy as np
import pytest
import torch

from lazyjam import STANDARD, Cache, Setup, sweep, workers
from lazyjam.activations import ACTIVATIONS
from lazyjam.losses import LOSSES
from lazyjam.networks import Network, convolutional, fully_connected
from lazyjam.problem import Problem
from lazyjam.steppers import METHODS
from lazyjam.tangents import flatten, stack
from lazyjam.training import compute

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
ONE = Setup(dataset="stripe", preprocessing="none", d=5, P=200, P_test=500, P_kernel=50)
EXACT = {"N_delta", "N_delta_at", "capped", "test_error"}


def columns(device: str, method: str, precision: str = "double", **fields) -> list[dict]:
    how = {"device": device, "method": method, "max_gradients": 20_000, "precision": precision}
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


@pytest.mark.parametrize("method", ["implicit", "rkc"])
def test_a_run_does_not_feel_its_batch(method):
    """Though all runs of a batch make the stages of the longest, and are solved with the patterns of the largest."""
    together = columns("cuda", method, h=48, alpha_tilde=100.0)
    for seed, one in enumerate(together):
        how = {"device": "cuda", "method": method, "max_gradients": 20_000}
        alone = compute([ONE.replace(h=48, alpha_tilde=100.0, seed=seed)], list(STANDARD), how)
        np.testing.assert_allclose(next(iter(alone.values())).columns["probe"], one["probe"], atol=1e-8)


@pytest.mark.parametrize("method", ["implicit", "rkc"])
def test_single_precision_is_that_of_a_core(method):
    pairs = zip(*(columns(device, method, "single", h=48, alpha_tilde=10.0) for device in ("cpu", "cuda")), strict=True)
    for one, other in pairs:
        assert one["N_delta"] == 0 == other["N_delta"]
        np.testing.assert_allclose(other["probe"], one["probe"], atol=2e-3)


NETS = {
    "layered": (fully_connected(16, 40, 2, bias=True), 60, "soft_hinge"),
    "more patterns than parameters": (fully_connected(16, 18, 2, bias=True), 1200, "squared"),
    "narrow": (fully_connected(16, 6, 2, bias=True), 60, "soft_hinge"),
    "by autograd": (convolutional(16, 3, 1), 60, "soft_hinge"),
}


def step(device: str, method: str, network: Network, P: int, loss: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights after one step from a disturbed start, and the gradients that it took."""

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(device)

    generator = torch.Generator().manual_seed(3)
    x, y = normal(P, 16), normal(P).sign()
    alpha, dt = (torch.tensor(v, dtype=torch.float64, device=device) for v in ([0.5, 2.0, 9.0], [0.3, 3.0, 60.0]))
    w0 = {name: w.to(device) for name, w in stack([network.init(generator) for _ in range(3)]).items()}
    problem = Problem(network, w0, x, y, LOSSES[loss], alpha, network.apply(w0, x))
    w = flatten(w0) + 0.3 * normal(*flatten(w0).shape) / alpha[:, None]
    memory = torch.zeros(3, 0, dtype=torch.float64, device=device)
    made = METHODS[method].step(problem, problem.at(w), dt, memory, 1e-2)
    return made.point.w.cpu(), made.cost.gradients.cpu()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("net", NETS)
def test_one_step_is_the_same(method, net):
    """Of a fully connected net, all runs together; of any other, as on a CPU."""
    (ours, gradients), (theirs, _) = (step(device, method, *NETS[net]) for device in ("cuda", "cpu"))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
    assert method != "rkc" or len(set(gradients.tolist())) > 1, "the runs have different numbers of stages"


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_are_the_same(activation):
    u, phi = torch.linspace(-300, 300, 10_001, dtype=torch.float64), ACTIVATIONS[activation]
    (ours, pulled), (theirs, carried) = ((phi.value(at), phi.pull(at, at, phi.value(at))) for at in (u.cuda(), u))
    torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(pulled.cpu(), carried, rtol=1e-12, atol=1e-13)


def test_a_sweep_on_a_gpu(tmp_path, monkeypatch):
    """In the processes that share it."""
    monkeypatch.setattr(workers, "ALONE", 0.0)
    cache, axes = Cache(tmp_path), dict(h=[16, 48], alpha_tilde=[1.0, 100.0], seed=range(3))
    ours = sweep(ONE, STANDARD, cache, device="cuda", progress=False, **axes)
    theirs = sweep(ONE, STANDARD, None, progress=False, **axes)
    assert bool((ours.N_delta == 0).all()) and ours.test_error.identical(theirs.test_error)
    np.testing.assert_allclose(ours.kernel_change, theirs.kernel_change, rtol=1e-7)
    assert {cache.get(key).meta["how"]["device"] for key in cache.keys()} == {"cuda"}
