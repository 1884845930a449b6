"""Observables, each against a plain computation from the weights of a trained batch."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from lazyjam import kernel_pca, linearity, machines, observables, rehearsal, stripe, watched
from lazyjam.flow import CAPPED, FAILED, FITTED, MINIMUM
from lazyjam.minima import PULL
from lazyjam.observables import ALWAYS, STANDARD, observable
from lazyjam.setups import Setup
from lazyjam.tangents import flatten, unflatten
from lazyjam.training import train

ONE = Setup(P=24, P_test=70, P_kernel=12, d=5, L=2, h=8, alpha_tilde=2.0)
ALPHA_TILDE = (2.0, 300.0)


@pytest.fixture(scope="module")
def trained():
    batch = train([ONE.replace(alpha_tilde=alpha_tilde, seed=seed) for seed, alpha_tilde in enumerate(ALPHA_TILDE)])
    assert batch.state.tolist() == [FITTED, FITTED]
    return batch


def output(w, run: int, x: np.ndarray) -> np.ndarray:
    """f_tilde of one run in numpy: swish, two hidden layers."""
    z = np.linspace(-12, 12, 24_001)
    moment = np.sum((z / (1 + np.exp(-10 * z))) ** 2 * np.exp(-z * z / 2)) * (z[1] - z[0]) / math.sqrt(2 * math.pi)
    for name in ("W1", "W2", "W3"):
        x = x @ w[name][run].numpy().T / math.sqrt(x.shape[1])
        x = x if name == "W3" else x / (1 + np.exp(-10 * x)) / math.sqrt(moment)
    return x[:, 0]


def predictor(trained, run: int, x: np.ndarray) -> np.ndarray:
    return ALPHA_TILDE[run] / math.sqrt(8) * (output(trained.w, run, x) - output(trained.w0, run, x))


@pytest.mark.parametrize("run", [0, 1])
def test_the_predictor_is_what_training_gained(trained, run):
    for split, f in ((trained.data.train, trained.f_train), (trained.data.test, trained.f_test)):
        np.testing.assert_allclose(f[run].numpy(), predictor(trained, run, split.x.numpy()), rtol=1e-8, atol=1e-9)
    assert (trained.data.train.y * trained.f_train >= 1).all()


@pytest.mark.parametrize("run", [0, 1])
def test_numbers_of_the_predictor(trained, run):
    (x, y), (x_test, y_test) = ((part.x.numpy(), part.y.numpy()) for part in trained.data[:2])
    f, f_test = predictor(trained, run, x), predictor(trained, run, x_test)
    loss = np.mean(np.log1p(np.exp(20 * (1 - y * f))) / 20)
    assert observables.train_loss(trained)[run].item() == pytest.approx(loss, rel=1e-7)
    assert observables.test_error(trained)[run].item() == np.mean(f_test * y_test <= 0)
    assert observables.rms_output(trained)[run].item() == pytest.approx(math.sqrt(np.mean(f_test**2)), rel=1e-8)
    assert observables.N_delta(trained)[run].item() == np.sum(y * f < 1) == 0
    np.testing.assert_allclose(observables.test_margin(trained)[run].numpy(), y_test * f_test, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(observables.probe(trained)[run].numpy(), f_test[:64], rtol=1e-6, atol=1e-6)
    assert observables.probe(trained).shape == (2, 64) and observables.test_margin(trained).dtype == torch.float16


def kernel(trained, w, run: int) -> torch.Tensor:
    one = {name: value[run] for name, value in w.items()}
    x = trained.data.kernel.x

    def apply(one):
        return trained.network.apply({name: value[None] for name, value in one.items()}, x)[0]

    J = torch.func.jacrev(apply)(one)
    return sum(rows.flatten(1) @ rows.flatten(1).T for rows in J.values())


@pytest.mark.parametrize("run", [0, 1])
def test_changes_of_kernel_and_weights(trained, run):
    now, start = (kernel(trained, w, run) for w in (trained.w, trained.w0))
    expected = ((now - start).norm() / start.norm()).item()
    assert observables.kernel_change(trained)[run].item() == pytest.approx(expected, rel=1e-9)
    w, w0 = (torch.cat([value[run].flatten() for value in weights.values()]) for weights in (trained.w, trained.w0))
    assert observables.weight_change(trained)[run].item() == pytest.approx(((w - w0).norm() / w0.norm()).item())


def test_lazy_runs_change_their_kernel_as_one_over_alpha():
    runs = [ONE.replace(h=30, alpha_tilde=alpha_tilde) for alpha_tilde in (1e3, 1e4)]
    change = observables.kernel_change(train(runs))
    assert (change[0] / change[1]).item() == pytest.approx(10, rel=0.1)


def test_no_number_depends_on_the_order_of_magnitude_of_alpha_in_the_lazy_limit():
    batch = train([ONE.replace(h=30, alpha_tilde=alpha_tilde) for alpha_tilde in (1e5, 1e7)])
    torch.testing.assert_close(batch.f_test[0], batch.f_test[1], rtol=0, atol=2e-3)
    torch.testing.assert_close(batch.t[0], batch.t[1], rtol=2e-3, atol=0)


def test_an_observable_has_one_value_per_run_on_the_axes_it_names(trained):
    for f in (*STANDARD, *ALWAYS):
        value = f(trained)
        assert value.shape[0] == 2 and value.ndim == 1 + len(f.dims), f.__name__
        assert f.version >= 1 and f.__doc__


def test_counts_at_the_budgets_are_those_of_shorter_runs():
    """N_delta after 1/100, 1/10 and all of t_max, recorded on the way, is what runs of those lengths end with."""
    T = 40.0
    whole = train([ONE.replace(h=2, t_max=T)])
    expected = [train([ONE.replace(h=2, t_max=T * part)]).N_delta.item() for part in (0.01, 0.1, 1.0)]
    counts = observables.N_delta_at(whole)[0].tolist()
    assert counts == pytest.approx(expected, abs=1) and counts[2] == whole.N_delta.item() > 0
    assert whole.t.item() == T and counts[0] > counts[2]


def test_a_run_that_ended_before_a_budget_counts_as_it_ended(trained):
    assert observables.N_delta_at(trained).eq(0).all()


def test_a_capped_run_says_so():
    batch = train([ONE], max_gradients=30)
    assert batch.state.tolist() == [CAPPED] and observables.capped(batch).tolist() == [True]
    for state in (CAPPED, FAILED):
        broken = dataclasses.replace(batch, state=torch.tensor([state]))
        assert observables.capped(broken).tolist() == [True]
        for name in ("N_delta", "N_delta_at", "test_error", "kernel_change"):
            assert getattr(observables, name)(broken).isnan().all(), name


def test_what_is_pretended_has_the_shape_of_what_is_measured():
    """A rehearsal goes on with zeros of the shape that every observable says of itself."""
    modules = (observables, linearity, kernel_pca, stripe, machines, watched)
    asked = {f.__name__: f for module in modules for f in vars(module).values() if hasattr(f, "sizes")}
    setup = Setup(dataset="stripe", preprocessing="none", d=4, P=45, P_test=30, P_kernel=10, h=6, L=1, bias=True)
    elsewhere = {"on_grid": setup.replace(d=2), "on_line": setup.replace(d=1, P=5),
                 "kernel_parity": setup.replace(bias=False, h=60)}  # fmt: skip
    ends = {one: train([one]) for one in (setup, *elsewhere.values())}
    for name, f in asked.items():
        one = elsewhere.get(name, setup)
        assert f(ends[one])[0].shape == rehearsal.pretended(one, [f]).columns[name].shape, name
    assert len(asked) > 30


def test_an_observable_of_ones_own():
    @observable(version=3, dims=("layer",))
    def norms(trained):
        return torch.stack([trained.w[name].flatten(1).norm(dim=1) for name in trained.w], dim=1)

    assert (norms.__name__, norms.version, norms.dims) == ("norms", 3, ("layer",))


@pytest.fixture(scope="module")
def jammed():
    """Three nets that cannot fit and one that can, by descent."""
    one = Setup(dataset="random", preprocessing="none", P=50, P_test=20, P_kernel=5, d=4, h=2, L=2, bias=True,
                activation="softplus5", loss="quadratic_hinge", dynamics="descent", t_max=1000.0, alpha_tilde=1.5)
    return train([one.replace(seed=seed) for seed in range(3)])


def test_numbers_of_a_certified_minimum_are_those_of_automatic_differentiation(jammed):
    assert jammed.state.tolist().count(MINIMUM) >= 2 and observables.certified(jammed).sum() >= 2
    N, P, y, x = jammed.setup.N, 50, jammed.data.train.y, jammed.data.train.x
    for run in (jammed.state == MINIMUM).nonzero()[:, 0].tolist():
        one = {name: value[run : run + 1] for name, value in jammed.w.items()}
        at_0 = jammed.network.apply({name: value[run : run + 1] for name, value in jammed.w0.items()}, x)[0]
        alpha = float(jammed.alpha[run])

        def delta(flat, one=one, at_0=at_0, alpha=alpha):
            return 1 - y * alpha * (jammed.network.apply(unflatten(flat[None], one), x)[0] - at_0)

        flat = flatten(one)[0]
        held = delta(flat) > 0
        J = torch.func.jacrev(delta)(flat)[held]
        H = torch.func.hessian(lambda v, delta=delta: delta(v).clamp(min=0).square().sum() / (2 * P))(flat)
        H_0, size = J.T @ J / P, float(H.abs().max())
        assert int(observables.N_delta(jammed)[run]) == int(held.sum())
        for found, expected in ((observables.spectrum, H), (observables.spectrum_0, H_0)):
            values = torch.linalg.eigvalsh(expected)
            torch.testing.assert_close(found(jammed)[run], values, rtol=1e-6, atol=1e-9 * size)
        assert observables.spectrum_0(jammed)[run].shape == (N,)
        bent = torch.linalg.eigvalsh(H - H_0)
        # eigenvalues that are zero up to the rounding of the difference count for neither
        sure, unsure = int((bent < -1e-8 * size).sum()), int((bent < 1e-8 * size).sum())
        assert sure <= int(observables.N_negative(jammed)[run]) <= unsure
        held_by_pull = int(observables.N_unstable(jammed)[run])
        assert held_by_pull == int((bent < -PULL).sum()) <= int(held.sum())
        ratio = float(torch.linalg.norm(H - H_0) / torch.linalg.norm(H_0))
        assert float(observables.bending_ratio(jammed)[run]) == pytest.approx(ratio, rel=1e-3)


def test_what_is_no_minimum_has_no_such_numbers(jammed):
    fitted = dataclasses.replace(jammed, state=torch.full_like(jammed.state, FITTED))
    for f in (observables.N_negative, observables.N_unstable, observables.spectrum, observables.spectrum_0):
        assert f(fitted).isnan().all() and f(fitted).shape == f(jammed).shape
    assert not observables.certified(fitted).any()
