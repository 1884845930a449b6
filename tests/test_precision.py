"""Single precision: the same flow within its tolerance, where it serves, and double precision elsewhere."""

import pytest
import torch
from problems import make, normal, tensor

from lazyjam import N_delta, Setup, sweep
from lazyjam.activations import ACTIVATIONS
from lazyjam.audit import TOLERANCE
from lazyjam.cache import Cache
from lazyjam.networks import fully_connected
from lazyjam.observables import capped, kernel_change, probe, t_end
from lazyjam.precision import ERROR, MAX_ALPHA, PRECISIONS, in_single_precision, precision_of
from lazyjam.solver import solve, solvers
from lazyjam.tangents import flatten, stack
from lazyjam.training import train

SMALL = Setup(dataset="stripe", P=40, P_test=64, d=3, h=40, preprocessing="none")


def both(h: int, P: int = 60, loss: str = "soft_hinge"):
    """A point of the same batch in double and in single precision."""
    networks = [fully_connected(3, h, 2, bias=True)]
    networks.append(in_single_precision(networks[0]))
    problems = [make(one, loss, tensor(0.5, 9.0), normal(P, 3), normal(P).sign()) for one in networks]
    w = flatten(problems[0].like) + 0.3 * normal(*flatten(problems[0].like).shape, seed=3) / tensor(0.5, 9.0)[:, None]
    return [(problem, problem.at(w)) for problem in problems]


def test_what_is_evaluated_is_single_and_what_comes_out_is_double():
    (_, exact), (problem, point) = both(40)
    assert point.tangent.f.dtype == torch.float32 and problem.f_tilde_0.dtype == torch.float32
    c, v = normal(2, 60), normal(*point.w.shape)
    pairs = [(getattr(one.tangent, name)(of) for one in (point, exact)) for name, of in (("vjp", c), ("jvp", v))]
    for ours, theirs in (*pairs, (point.f, exact.f), (point.v, exact.v)):
        assert ours.dtype == torch.float64
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        assert not torch.equal(ours, theirs)


def test_the_predictor_is_exactly_zero_at_the_start():
    (problem, _) = both(40)[1]
    assert problem.at(flatten(problem.like)).f.eq(0).all()


@pytest.mark.parametrize("h, P, loss", [(8, 60, "soft_hinge"), (40, 60, "soft_hinge"), (24, 1500, "squared")])
def test_an_implicit_step_solves_the_same_system(h, P, loss):
    """With the whole Hessian, in function space, and in the parameters."""
    solved = []
    for problem, point in both(h, P, loss):
        found = solvers(problem, point, tensor(0.6, 5.0))
        assert {one.in_parameters for one in found} == {h != 40}
        solved.append(solve(point.tangent, [one.at(0.5) for one in found], point.v))
    assert solved[1].dtype == torch.float64
    off = (solved[1] - solved[0]).norm(dim=1) / solved[0].norm(dim=1)
    assert off.gt(0).all() and off.lt(1e-3).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_are_numbers_in_single_precision(activation):
    u, of = torch.linspace(-300, 300, 1201, dtype=torch.float64), ACTIVATIONS[activation]

    def all_of_it(u):
        return of.value(u), of.pull(torch.ones_like(u), u, of.value(u)), of.bend(u)

    for ours, theirs in zip(all_of_it(u.float()), all_of_it(u), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("h", [16, 64, 256])
def test_the_error_of_the_outputs(h):
    network = fully_connected(10, h, 2)
    x, w0 = normal(1000, 10), stack([network.init(torch.Generator().manual_seed(0))])
    w = {name: value + 0.05 * normal(*value.shape, seed=2) for name, value in w0.items()}
    exact, rounded = (one.apply(w, x) - one.apply(w0, x) for one in (network, in_single_precision(network)))
    assert 0.2 * ERROR < (exact - rounded).abs().max() < 1.5 * ERROR


@pytest.mark.parametrize(
    "alpha_tilde, h, method, activation",
    [(60.0, 40, "implicit", "swish10"), (40.0, 12, "implicit", "swish10"), (10.0, 40, "rkc", "swish10"),
     (0.03, 40, "rkc", "swish10"), (30.0, 40, "implicit", "softplus5")],
)  # fmt: skip
def test_the_flow_is_the_same_to_a_fifth_of_what_an_audit_allows(alpha_tilde, h, method, activation):
    setup = SMALL.replace(alpha_tilde=alpha_tilde, h=h, activation=activation, t_max=0.3 if alpha_tilde < 1 else 1e9)
    runs = [setup.replace(seed=seed) for seed in range(2)]
    double, single = (train(runs, method=method, precision=precision) for precision in PRECISIONS)
    assert double.N_delta.equal(single.N_delta) and double.N_delta.gt(0).any() == (alpha_tilde < 1)
    assert single.f_test.dtype == torch.float64, "what is measured is measured in double precision"
    off = (single.f_test - double.f_test).norm() / double.f_test.norm()
    assert 0 < off < TOLERANCE / 5


def test_where_single_precision_does_not_serve_it_is_double():
    assert precision_of([SMALL], "single") == "single" and precision_of([SMALL], "double") == "double"
    lazy = SMALL.replace(alpha_tilde=1.01 * MAX_ALPHA * SMALL.h**0.5)
    steps = SMALL.replace(loss="quadratic_hinge", dynamics="descent", t_max=9.0)
    others = [lazy, steps, SMALL.replace(loss="quadratic_hinge"), SMALL.replace(architecture="cnn", d=16, L=1)]
    for other in others:
        assert precision_of([SMALL, other], "single") == "double"
    with pytest.raises(ValueError, match="unknown precision 'singel': did you mean 'single'"):
        precision_of([SMALL], "singel")
    with pytest.raises(ValueError, match="unknown precision 'half'"):
        precision_of([lazy], "half")
    with pytest.raises(ValueError, match="unknown precision 'half'"):
        sweep(SMALL, [N_delta], precision="half", seed=[0])


def test_a_run_that_failed_in_single_precision_is_made_in_double(tmp_path, monkeypatch):
    cache, axes = Cache(tmp_path), dict(alpha_tilde=[30.0], progress=False)
    with monkeypatch.context() as broken:
        broken.setattr("lazyjam.training.in_single_precision", lost)
        assert sweep(SMALL, [capped], cache, precision="single", **axes).capped.item()
    assert sweep(SMALL, [capped], cache, precision="single", **axes).capped.item(), "it is kept"
    assert not sweep(SMALL, [capped], cache, **axes).capped.item()


def lost(network):
    return in_single_precision(network)._replace(apply=lambda w, x: torch.full((1, len(x)), torch.nan))


@pytest.mark.parametrize("first, second", [("single", "double"), ("double", "single")])
def test_a_record_is_single_if_a_column_of_it_is_and_no_column_is_lost(tmp_path, first, second):
    cache, axes = Cache(tmp_path), dict(alpha_tilde=[30.0], progress=False)
    sweep(SMALL, [kernel_change], cache, precision=first, **axes)
    sweep(SMALL, [t_end], cache, precision=second, **axes)
    kept = cache.get(SMALL.replace(alpha_tilde=30.0).key)
    assert kept.meta["how"]["precision"] == "single" and {"kernel_change", "t_end"} <= kept.columns.keys()


def test_a_record_says_its_precision_and_serves_both(tmp_path):
    cache, lazy = Cache(tmp_path), SMALL.replace(alpha_tilde=1e6)
    axes = dict(alpha_tilde=[30.0, 1e6], progress=False)
    first = sweep(SMALL, [probe], cache, precision="single", **axes).probe
    kept = [cache.get(one.key).meta["how"]["precision"] for one in (SMALL.replace(alpha_tilde=30.0), lazy)]
    assert kept == ["single", "double"]
    assert sweep(SMALL, [probe], cache, **axes).probe.identical(first), "nothing is computed again"
    plain = sweep(SMALL, [probe], None, **axes).probe
    assert plain[1].identical(first[1]) and not plain[0].identical(first[0])
