"""Gradient flow: closed forms, symmetries of the equation, several integrators of one flow, and how a run ends."""

import math
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch.utils._python_dispatch import TorchDispatchMode

from lazyjam import data, solver, steppers
from lazyjam.flow import CAPPED, FAILED, FITTED, OUT_OF_TIME, OVERSHOOT, RUNNING, gradient_flow, unsatisfied
from lazyjam.kernels import ntk
from lazyjam.losses import ENERGY_END, LOSSES
from lazyjam.networks import from_function, fully_connected
from lazyjam.tangents import stack, unflatten

METHODS = ("euler", "rkc", "implicit", "switching")


@pytest.fixture(autouse=True)
def soon_implicit(request, monkeypatch):
    """What switches does so in these short flows as well: after the first step, which costs forty gradients."""
    if "switching" in request.node.name:
        monkeypatch.setattr(steppers, "MAX_STAGES", 40)


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draw(network, *seeds: int) -> dict[str, torch.Tensor]:
    return stack([network.init(torch.Generator().manual_seed(seed)) for seed in seeds])


def part(w: dict[str, torch.Tensor], run: int) -> dict[str, torch.Tensor]:
    return {name: value[run : run + 1] for name, value in w.items()}


def follow(network, w0, split, loss, alpha, **how) -> list:
    with torch.no_grad():
        return list(gradient_flow(network, w0, split, loss, alpha, **how))


def stripe(P: int, d: int = 5, seed: int = 0, P_test: int = 200) -> data.Data:
    return data.load("stripe", P, P_test, d, seed, preprocessing="none")


# closed forms and symmetries -----------------------------------------------------------------------------------------


LAZY = [("euler", 8, 0.01, 0.2), ("rkc", 8, 1e-6, 4.0), ("implicit", 8, 1e-6, 4.0), ("implicit", 30, 1e-6, 4.0)]


@pytest.mark.parametrize("method, h, tol, reach", LAZY)
def test_lazy_limit_is_the_flow_of_a_linear_model(method, h, tol, reach):
    """Squared loss, alpha to infinity: f(t) = (1 - exp(-Theta t / P)) y with the kernel of the initial weights."""
    network, P = fully_connected(4, h, 2), 8
    x, y, w0 = normal(P, 4), normal(P, seed=2).sign(), draw(network, 0)
    theta = ntk(network, w0, x)[0] / P
    T = reach / torch.linalg.eigvalsh(theta).max().item()
    marks = T * tensor(0.3, 1.0)
    passed = {now.t.item(): now.f[0] for now in follow(
        network, w0, (x, y), "squared", tensor(1e6), method=method, tol=tol, t_max=T, landmarks=marks[None],
        max_gradients=20_000,
    )}
    assert set(marks.tolist()) <= set(passed)
    for t in marks.tolist():
        f = y - torch.matrix_exp(-theta * t) @ y
        assert (passed[t] - f).norm() / f.norm() < 1e-4


@pytest.mark.parametrize("method", ["euler", "implicit"])
def test_ntk_and_mean_field_normalisation_are_one_flow(method, monkeypatch):
    """f_tilde / sqrt(h) with alpha sqrt(h) is the same predictor; 1 / alpha^2 makes its time h times as long."""
    monkeypatch.setattr(solver, "MAX_DENSE_BY_AUTOGRAD", solver.MAX_DENSE)  # the same steps for both
    h = 9
    ntk_like = fully_connected(4, h, 2)
    mean_field = from_function(ntk_like.init, lambda w, x: ntk_like.apply(w, x) / math.sqrt(h))
    w0, split, alpha = draw(ntk_like, 0, 1), (normal(12, 4), normal(12, seed=2).sign()), tensor(0.2, 5.0)
    loss, dt = "squared" if method == "implicit" else "soft_hinge", 1e-3 * alpha
    how = dict(method=method, max_gradients=250)
    one = follow(ntk_like, w0, split, loss, alpha, first_dt=dt, **how)
    two = follow(mean_field, w0, split, loss, alpha * math.sqrt(h), first_dt=dt * h, **how)
    assert len(one) == len(two) > 10 and one[-1].f.abs().max() > 0.3
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(b.t, h * a.t, rtol=1e-9, atol=0)
        torch.testing.assert_close(b.f, a.f, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(b.w, a.w, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_duplicating_every_neuron_leaves_the_mean_field_flow_unchanged(method):
    """One hidden layer, alpha_tilde fixed. Of f = (alpha_tilde / 2h) sum over 2h neurons each feels half the force,
    and 1 / alpha^2 = 2h / alpha_tilde^2 is twice as large: a neuron moves as before, at the same time t."""
    d, h, alpha_tilde = 4, 6, tensor(0.5, 4.0)
    narrow, wide = fully_connected(d, h, 1), fully_connected(d, 2 * h, 1)
    w0 = draw(narrow, 0, 1)
    twins = {"W1": torch.cat([w0["W1"], w0["W1"]], 1), "W2": torch.cat([w0["W2"], w0["W2"]], 2)}
    split = normal(12, d), normal(12, seed=2).sign()
    how = dict(method=method, t_max=4.0, first_dt=tensor(1e-3, 1e-3))
    one, two = (follow(network, w, split, "soft_hinge", alpha_tilde / math.sqrt(width), **how)
                for network, w, width in ((narrow, w0, h), (wide, twins, 2 * h)))
    assert len(one) == len(two) > 10 and one[-1].f.abs().max() > 0.3
    close = dict(rtol=1e-7, atol=1e-7) if method == "rkc" else dict(rtol=1e-10, atol=1e-10)  # power iteration rounds
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(b.t, a.t, **close)
        torch.testing.assert_close(b.f, a.f, **close)
    W1 = unflatten(two[-1].w, twins)["W1"]
    torch.testing.assert_close(W1[:, :h], unflatten(one[-1].w, w0)["W1"], **close)
    torch.testing.assert_close(W1[:, :h], W1[:, h:], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("method, tol", [("rkc", 1e-4), ("implicit", 1e-4), ("euler", 0.1)])
def test_each_relu_neuron_keeps_its_balance(method, tol):
    """|W1_i|^2 - W2_i^2 is conserved by the flow of a homogeneous neuron, not by its discretisation."""
    network, alpha = fully_connected(4, 6, 1, "relu"), tensor(0.2)
    w0, split = draw(network, 3), (normal(10, 4), normal(10, seed=2).sign())
    last = follow(network, w0, split, "quadratic_hinge", alpha, method=method, tol=tol, t_max=0.5)[-1]
    balance = [w["W1"].square().sum(2) - w["W2"].square().sum(1) for w in (w0, unflatten(last.w, w0))]
    moved = (unflatten(last.w, w0)["W1"].square().sum(2) - w0["W1"].square().sum(2)).abs().max()
    assert moved > 0.3 and (balance[1] - balance[0]).abs().max() < 0.01 * moved


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_only_falls(loss):
    network, split = fully_connected(4, 8, 2), (normal(15, 4), normal(15, seed=2).sign())
    alpha, methods = tensor(0.1, 1.0, 50.0), ("euler",) if loss == "hinge" else ("rkc", "implicit")
    for method in methods:
        snapshots = follow(network, draw(network, 0, 1, 2), split, loss, alpha, method=method, t_max=1.0)
        energies = torch.stack([LOSSES[loss].value(1 - split[1] * now.f).mean(1) for now in snapshots])
        accepted = torch.stack([now.accepted for now in snapshots])
        rises = energies.diff(dim=0).where(accepted[1:], 0.0)
        assert (rises <= 1e-9).all() and (energies[-1] < energies[0]).all()


# the integrators agree -----------------------------------------------------------------------------------------------


def test_methods_agree_with_euler_at_a_tenfold_tighter_tolerance(monkeypatch, as_a_user):
    """At their default tolerances, on test points, to one per cent; the implicit one by both of its solvers."""
    h, alpha_tilde, sets = 25, tensor(1.0, 10.0, 100.0), stripe(64)
    network = fully_connected(5, h, 2)
    w0, alpha = draw(network, 0, 1, 2), alpha_tilde / math.sqrt(h)

    def trained(**how):
        last = follow(network, w0, sets.train, "soft_hinge", alpha, **how)[-1]
        assert last.state.eq(FITTED).all()
        w, x = unflatten(last.w, w0), sets.test.x
        return alpha[:, None] * (network.apply(w, x) - network.apply(w0, x)), last.t

    f, t = trained(method="euler", tol=0.1, first_dt=0.1 * alpha_tilde / h)
    for method, dense in (("rkc", 0), ("implicit", 0), ("implicit", 10_000)):
        monkeypatch.setattr(solver, "MAX_DENSE", dense)
        other, t_other = trained(method=method)
        assert ((other - f).square().mean(1) < 0.01**2 * f.square().mean(1)).all(), (method, dense)
        torch.testing.assert_close(t_other, t, rtol=0.01, atol=0)


# authors_protocol: the accepted steps of one run of their code on stripe, d = 10, h = 100, P = 500, L = 2
REFERENCE = [
    pytest.param(0.01, 5676, marks=pytest.mark.stress),
    pytest.param(1.0, 2191, marks=pytest.mark.stress),
    (10.0, 1662),
]


@pytest.mark.parametrize("alpha_tilde, expected", REFERENCE)
def test_euler_takes_as_many_steps_as_the_authors(alpha_tilde, expected, as_a_user):
    d, h = 10, 100
    network, alpha = fully_connected(d, h, 2), tensor(alpha_tilde) / math.sqrt(h)
    counts = []
    for seed in range(8):
        split = stripe(500, d, seed, P_test=1).train
        accepted = 0
        with torch.no_grad():
            for now in gradient_flow(network, draw(network, seed), split, "soft_hinge", alpha, method="euler",
                                     first_dt=tensor(alpha_tilde / h)):
                accepted += int(now.accepted)
        assert now.state.item() == FITTED
        counts.append(accepted)
    assert np.median(counts) == pytest.approx(expected, rel=0.15), counts


# a batch -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method, h", [("implicit", 10), ("implicit", 22), ("rkc", 10), ("euler", 10), ("switching", 10)]
)
def test_a_run_does_not_feel_its_batch(method, h, monkeypatch):
    network, split = fully_connected(5, h, 2), stripe(30).train
    w0, alpha = draw(network, 0, 1, 2, 3), tensor(0.5, 3.0, 30.0, 1e4) / math.sqrt(h)
    how = dict(method=method, t_max=1.0 if method == "euler" else math.inf)  # at the edge of stability Euler is chaotic
    if method == "switching":  # two runs do so at once, and two do not
        monkeypatch.setattr(steppers, "MAX_STAGES", 41)
        how["first_dt"] = tensor(1e-3, 1e3, 1e-3, 1e6)
    snapshots = follow(network, w0, split, "soft_hinge", alpha, **how)
    together = snapshots[-1]
    assert method != "switching" or (snapshots[1].factorisations > 0).tolist() == [False, True, False, True]
    assert method == "euler" or together.state.eq(FITTED).all() and len(together.t.unique()) == 4
    assert len(together.gradients.unique()) == 4
    for run in range(4):
        own = {name: value[run : run + 1] if name == "first_dt" else value for name, value in how.items()}
        alone = follow(network, part(w0, run), split, "soft_hinge", alpha[run : run + 1], **own)[-1]
        torch.testing.assert_close(together.f[run], alone.f[0], rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(together.t[run], alone.t[0], rtol=1e-8, atol=0)
        assert together.gradients[run] == alone.gradients[0]
        assert together.factorisations[run] == alone.factorisations[0]


@pytest.mark.parametrize("method", METHODS)
def test_runs_that_have_ended_leave_the_batch(method):
    network, sizes = fully_connected(5, 10, 2), []

    def tangent(w, x):
        sizes.append(len(w["W1"]))
        return network.tangent(w, x)

    alpha, t_max = tensor(1.0, 1.0, 1.0), tensor(0.01, 0.1, 0.3)
    snapshots = follow(network._replace(tangent=tangent), draw(network, 0, 1, 2), stripe(30).train, "soft_hinge", alpha,
                       method=method, t_max=t_max, first_dt=tensor(1e-3, 1e-3, 1e-3))
    assert set(sizes) == {3, 2, 1} and sizes[0] == 3 and sizes[-1] == 1
    first = next(now for now in snapshots if now.state[0] != RUNNING)
    last = snapshots[-1]
    assert first.t[0] == 0.01 and (first.state[1:] == RUNNING).all()
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, last, strict=True)), "and stay as they were"
    assert (last.gradients.diff() > 0).all()


WAITS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.is_nonzero.default,
         torch.ops.aten.masked_select.default}  # fmt: skip
"""What a GPU is waited for."""

INDEXED = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default}
"""The same, where the index is a mask."""


def test_a_step_asks_the_host_one_thing(monkeypatch):
    """So a GPU is waited for once, and not at every decision about its runs. (A method may ask for more.)"""
    asked = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, op, types, args=(), kwargs=None):
            masks = [of for of in (args[1] if op in INDEXED else ()) if of is not None]
            if op in WAITS or any(of.dtype == torch.bool for of in masks):
                asked.append(str(op))
            return op(*args, **kwargs or {})

    listed = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda of: asked.append("tolist") or listed(of))
    monkeypatch.setattr(torch.Tensor, "cpu", lambda of: asked.append("cpu") or of)
    network = fully_connected(5, 10, 2)
    flow = gradient_flow(network, draw(network, 0, 1), stripe(30).train, "soft_hinge", tensor(1.0, 9.0), method="euler",
                         first_dt=tensor(1e9, 1e-3))
    next(flow)
    asked.clear()
    with Watch():
        steps = [now.accepted for now in islice(flow, 20)]
    assert asked == ["tolist"] * 20
    assert steps[0].tolist() == [False, True] and steps[-1].tolist() == [True, True]


@pytest.mark.parametrize("method", METHODS)
def test_every_run_lands_on_its_landmarks_and_on_its_last_time(method):
    network, split = fully_connected(5, 10, 2), stripe(30).train
    w0, alpha, t_max = draw(network, 0, 1), tensor(0.3, 30.0), tensor(0.31, 0.7)
    marks = tensor(0.1, 1 / 3, 0.1 + 1e-9, 0.5, 9.0, 9.0).reshape(3, 2).T.contiguous()
    how = dict(method=method, t_max=t_max, tol=1e-3 if method != "euler" else 1.0)
    passing = follow(network, w0, split, "squared", alpha, landmarks=marks, **how)
    times = [{now.t[run].item() for now in passing} for run in range(2)]
    assert {0.1, 0.1 + 1e-9, 0.31} <= times[0] and {1 / 3, 0.5, 0.7} <= times[1]
    assert max(times[0]) == 0.31 and max(times[1]) == 0.7 and passing[-1].state.eq(OUT_OF_TIME).all()
    straight = follow(network, w0, split, "squared", alpha, **how)[-1]
    torch.testing.assert_close(passing[-1].f, straight.f, rtol=0, atol=0.03 if method == "euler" else 3e-3)
    assert len(passing) < 2 * straight.gradients.max(), "a mark does not make the next steps short"


# how a run ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_the_end_is_where_the_last_margin_is_satisfied(method):
    network, split = fully_connected(5, 12, 2), stripe(30).train
    alpha = tensor(1.0, 1e3) if method == "euler" else tensor(0.05, 0.3, 1.0, 10.0, 1e3)
    w0 = draw(network, *range(len(alpha)))
    last = follow(network, w0, split, "soft_hinge", alpha, method=method)[-1]
    margin = (split.y * last.f).amin(1)
    assert last.state.eq(FITTED).all() and last.N_delta.eq(0).all()
    assert (margin >= 1).all() and (margin <= 1 + OVERSHOOT).all() and OVERSHOOT == 1e-4


def test_hinge_of_one_pattern_ends_at_the_margin():
    network, split = fully_connected(5, 30, 2), stripe(1).train
    last = follow(network, draw(network, 0), split, "hinge", tensor(5.0), method="euler")[-1]
    margin = (split.y * last.f).min().item()
    assert last.state.item() == FITTED and 1 <= margin <= 1 + OVERSHOOT


def test_quadratic_losses_end_when_their_energy_is_zero():
    network, split = fully_connected(5, 20, 1), stripe(5).train
    for loss in ("quadratic_hinge", "squared"):
        last = follow(network, draw(network, 0), split, loss, tensor(1.0))[-1]
        assert last.state.item() == FITTED
        assert LOSSES[loss].value(1 - split.y * last.f).mean().item() <= 1e-20


@pytest.mark.parametrize("method", [method for method in METHODS if method != "euler"])  # which takes minutes
@pytest.mark.parametrize("loss, P", [("squared", 1), ("squared", 3), ("quadratic_hinge", 1)])
def test_the_time_of_an_exponential_end_is_exact(method, loss, P, as_a_user):
    """A lazy net relaxes as exp(-Theta t / P), and its energy is zero at a time that its kernel tells. Most of that
    time its outputs move by less than the tolerance, which no step may take for nothing."""
    network, (x, y) = fully_connected(5, 20, 1), stripe(P).train
    w0 = draw(network, 0, 1, 2)
    values, vectors = torch.linalg.eigh(ntk(network, w0, x))
    modes = vectors.mT @ y

    def energy(t: float, run: int) -> float:
        left = modes[run] * torch.exp(-values[run] * t / P)
        return math.log(float(left.square().mean()) / 2 + 1e-300) - math.log(ENERGY_END)

    exact = [brentq(energy, 0, 1e6, args=(run,)) for run in range(3)]
    last = follow(network, w0, (x, y), loss, tensor(1e4, 1e4, 1e4), method=method)[-1]
    assert last.state.eq(FITTED).all()
    torch.testing.assert_close(last.t, tensor(*exact), rtol=0.05, atol=0)


@pytest.mark.parametrize(("method", "alpha", "how", "error"), [
    ("implicit", 1e6, {}, 2.0), ("implicit", 100.0, dict(tol=1e-4), 0.2), ("rkc", 100.0, dict(tol=1e-4), 0.2),
])  # fmt: skip
def test_rounding_does_not_stop_a_run_at_its_end(method, alpha, how, error, as_a_user):
    """f is a difference times alpha: where its rounding is larger than a step may err, it is no error of a step.

    At alpha = 1e6 the time of the end is rounding's, within a factor of three: there the test asks that it comes.
    """
    network, (x, y) = fully_connected(5, 100, 2), stripe(4).train
    w0 = draw(network, 0)
    values, vectors = torch.linalg.eigh(ntk(network, w0, x)[0])
    slowest = math.log(1e10) * 4 / float(values[0])
    last = follow(network, w0, (x, y), "squared", tensor(alpha), method=method, max_gradients=10_000, **how)[-1]
    assert last.state.eq(FITTED).all() and float(last.t) == pytest.approx(slowest, rel=error)


def test_a_weight_decay_that_holds_a_net_is_waited_for(as_a_user):
    """It pulls so weakly that a leap would have passed for the end; the net comes to rest above it."""
    network, split = fully_connected(5, 20, 1), stripe(5).train
    w0 = draw(network, 0)
    held, free = (follow(network, w0, split, "quadratic_hinge", tensor(1.0), decay=decay, t_max=1e5)[-1]
                  for decay in (1e-6, 0.0))  # fmt: skip
    assert held.state.item() == OUT_OF_TIME and free.state.item() == FITTED
    assert LOSSES["quadratic_hinge"].value(1 - split.y * held.f).mean().item() > ENERGY_END


def test_two_methods_take_the_same_time_to_an_exponential_end(as_a_user):
    """On the kink of the hinge there is no closed form, so two integrators of different kinds judge each other."""
    network, split = fully_connected(5, 20, 2, "softplus5"), stripe(20).train
    w0, alpha = draw(network, 0, 1), tensor(1.0, 100.0)
    ends = [follow(network, w0, split, "quadratic_hinge", alpha, method=method)[-1] for method in ("rkc", "implicit")]
    assert all(end.state.eq(FITTED).all() for end in ends)
    torch.testing.assert_close(ends[0].t, ends[1].t, rtol=0.06, atol=0)


def test_unsatisfied_patterns_of_a_loss_that_falls_for_ever(as_a_user):
    """All Delta > 0 count, unless the largest is zero to 1e-8; a loss that ends at a margin knows no such thing."""
    delta = tensor([1e-9, -1.0, 0.3, 0.0], [1e-9, -1.0, 1e-8, 0.0], [math.nan, -1.0, -1.0, -1.0], [-1.0] * 4)
    for loss, expected in (("quadratic_hinge", [2, 0, 1, 0]), ("squared", [2, 0, 1, 0]), ("soft_hinge", [2, 2, 1, 0])):
        problem = SimpleNamespace(loss=LOSSES[loss])
        assert unsatisfied(problem, delta).tolist() == expected


def test_cross_entropy_never_ends_of_itself():
    network, split = fully_connected(5, 30, 1), stripe(10).train
    last = follow(network, draw(network, 0), split, "cross_entropy", tensor(1.0), t_max=1e3)[-1]
    assert last.state.item() == OUT_OF_TIME and last.t.item() == 1e3 and last.N_delta.item() == 0


@pytest.mark.parametrize("method", METHODS)
def test_the_cap_on_gradients_is_reported(method):
    network = fully_connected(5, 10, 2)
    last = follow(network, draw(network, 0), stripe(30).train, "soft_hinge", tensor(1.0), method=method,
                  max_gradients=45)[-1]
    assert last.state.item() == CAPPED and 45 <= last.gradients.item() < 45 + 60 and last.N_delta.item() > 0


@pytest.mark.parametrize("method, h", [("euler", 10), ("rkc", 10), ("implicit", 10), ("implicit", 22)])
def test_not_a_number_is_reported_and_spoils_no_other_run(method, h):
    network, split = fully_connected(5, h, 2), stripe(20).train
    w0, alpha = draw(network, 0, 1, 2), tensor(1.0, 1.0, 10.0)
    w0["W2"][1, 3, 3] = math.nan  # all outputs of this run
    how = dict(method=method, t_max=1.0)
    together = follow(network, w0, split, "soft_hinge", alpha, **how)[-1]
    assert together.state.tolist() == [OUT_OF_TIME, FAILED, OUT_OF_TIME] and together.N_delta[1] == 20
    alone = follow(network, part(w0, 2), split, "soft_hinge", alpha[2:], **how)[-1]
    torch.testing.assert_close(together.f[2], alone.f[0], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_a_wall_of_nan_is_reported_where_it_stands(method):
    """A network that is not defined beyond a point: steps shrink towards it until the run is given up."""
    def apply(w, x):
        a = w["a"][:, :1]
        return torch.where(a < 0.3, a, math.nan) * x[:, 0]

    network = from_function(lambda generator: {"a": tensor(0.1)}, apply)
    split = tensor(1.0)[:, None], tensor(1.0)
    last = follow(network, draw(network, 0), split, "squared", tensor(1.0), method=method, max_gradients=1500)[-1]
    assert last.state.item() in (FAILED, CAPPED) and last.N_delta.item() == 1
    assert last.w.item() == pytest.approx(0.3, abs=0.05) and last.f.isfinite().all()


@pytest.mark.parametrize("method", METHODS)
def test_a_network_that_cannot_learn_waits_until_its_time_is_over(method):
    network = from_function(lambda generator: {"a": tensor(0.5)}, lambda w, x: (0 * w["a"][:, :1]) * x[:, 0])
    split = normal(4, 2), normal(4).sign()
    last = follow(network, draw(network, 0), split, "soft_hinge", tensor(1.0), method=method, t_max=7.0)[-1]
    assert last.state.item() == OUT_OF_TIME and last.t.item() == 7 and last.N_delta.item() == 4


def test_initial_snapshot_is_not_given_but_the_predictor_starts_at_zero():
    """Each snapshot follows an attempted step; a step so short that nothing moves shows f = 0, whatever f_tilde is."""
    network = fully_connected(5, 10, 2)
    first = follow(network, draw(network, 0), stripe(30).train, "soft_hinge", tensor(10.0), first_dt=tensor(1e-12),
                   max_gradients=2)[0]
    assert first.f.abs().max() < 1e-9 and first.N_delta.item() == 30


@pytest.mark.parametrize("method, tol", [("rkc", 0.01), ("implicit", 0.01), ("euler", 1.0)])
def test_first_step_moves_the_predictor_by_a_tenth_of_the_tolerance(method, tol):
    network = fully_connected(5, 10, 2)
    for alpha in (0.1, 1.0, 1e3):
        first = follow(network, draw(network, 0), stripe(30).train, "soft_hinge", tensor(alpha), method=method, tol=tol,
                       max_gradients=2)[0]
        if first.accepted.item():
            assert first.f.abs().max().item() == pytest.approx(0.1 * tol, rel=0.3)


# bad input -----------------------------------------------------------------------------------------------------------

BAD = {
    "unknown loss 'hnge': did you mean 'hinge'?": dict(loss="hnge"),
    "unknown method 'rk4': did you mean 'rkc'?": dict(method="rk4"),
    "method 'rkc' cannot follow the hinge along its kink": dict(loss="hinge"),
    "12 inputs but 11 labels: there must be one label per input": dict(labels=11),
    "weights of 2 runs but 3 values of alpha: give one per run": dict(alpha=tensor(1.0, 2.0, 3.0)),
    "alpha must be positive, got -2.0": dict(alpha=tensor(1.0, -2.0)),
    "alpha must be positive, got 0.0": dict(alpha=tensor(0.0, 2.0)),
    "alpha must be positive, got nan": dict(alpha=tensor(1.0, math.nan)),
    "tol must be positive, got -1": dict(tol=-1.0),
    "max_gradients must be positive, got 0": dict(max_gradients=0),
}


@pytest.mark.parametrize("sentence", BAD)
def test_bad_input_is_one_sentence(sentence, as_a_user):
    case = dict(loss="soft_hinge", method="rkc", labels=12, alpha=tensor(1.0, 2.0)) | BAD[sentence]
    network = fully_connected(4, 5, 2)
    split = normal(12, 4), torch.ones(case["labels"], dtype=torch.float64)
    with pytest.raises(ValueError) as error:
        how = {name: case[name] for name in ("method", "tol", "max_gradients") if name in case}
        follow(network, draw(network, 0, 1), split, case["loss"], case["alpha"], **how)
    assert str(error.value).startswith(sentence) and str(error.value)[-1] in ".?" and "\n" not in str(error.value)
