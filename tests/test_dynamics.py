"""Descent and Adam as ways to train, next to gradient flow."""

import math

import pytest
import torch

from lazyjam import dynamics
from lazyjam.flow import FITTED, HELD, MINIMUM, OUT_OF_TIME
from lazyjam.kernels import ntk
from lazyjam.observables import N_delta, certified, train_loss
from lazyjam.setups import Setup
from lazyjam.training import train

SMALL = Setup(
    dataset="random", preprocessing="none", P=40, P_test=20, P_kernel=5, d=4, h=4, L=2, activation="softplus5",
    bias=True, loss="quadratic_hinge", alpha_tilde=2.0, dynamics="adam", t_max=200.0,
)  # fmt: skip


def by_hand(setup: Setup, steps: int, rates) -> tuple[torch.Tensor, torch.Tensor]:
    """Adam (Kingma, Ba 2015) from its formulas, with gradients by automatic differentiation."""
    from lazyjam.data import load

    data = load(setup.dataset, setup.P, setup.P_test, setup.d, setup.seed_data, P_kernel=setup.P_kernel,
                preprocessing=setup.preprocessing).train
    network, alpha = setup.network, setup.alpha_tilde / math.sqrt(setup.h)
    w0 = {name: value[None] for name, value in network.init(torch.Generator().manual_seed(setup.seed)).items()}
    f_tilde_0, w = network.apply(w0, data.x), {name: value.clone() for name, value in w0.items()}

    def U(w):
        return (1 - data.y * alpha * (network.apply(w, data.x) - f_tilde_0)).clamp(min=0).square().mean() / 2

    m, v = ({name: torch.zeros_like(value) for name, value in w.items()} for _ in range(2))
    for step in range(1, steps + 1):
        for name, g in torch.func.grad(U)(w).items():
            m[name], v[name] = 0.9 * m[name] + 0.1 * g, 0.999 * v[name] + 0.001 * g**2
            down = (v[name] / (1 - 0.999**step)).sqrt() + 1e-8
            w[name] = w[name] - rates(step) * m[name] / (1 - 0.9**step) / down
    return alpha * (network.apply(w, data.x) - f_tilde_0)


def test_adam_is_the_textbook_one_with_the_rates_of_the_authors(monkeypatch):
    monkeypatch.setattr(dynamics, "DECAY_EVERY", 30)
    monkeypatch.setattr(dynamics, "LEARNING_RATE", 1e-2)
    monkeypatch.setattr(dynamics, "LOWEST_RATE", 1e-4)
    end = train([SMALL.replace(t_max=100.0, seed=seed) for seed in (3, 4)])
    assert end.state.tolist() == [OUT_OF_TIME] * 2 and end.t.tolist() == [100, 100]
    expected = by_hand(SMALL.replace(seed=4), 100, lambda step: max(1e-2 * 0.1 ** ((step - 1) // 30), 1e-4))
    torch.testing.assert_close(end.f_train[1:], expected, rtol=1e-8, atol=1e-8)


def test_adam_stops_where_all_patterns_are_satisfied(monkeypatch):
    monkeypatch.setattr(dynamics, "LEARNING_RATE", 1e-2)
    easy = [SMALL.replace(P=6, h=16, alpha_tilde=4.0, t_max=2000.0, seed=seed) for seed in range(3)]
    end = train(easy)
    assert end.state.tolist() == [FITTED] * 3 and (end.t < 2000).all() and len(set(end.t.tolist())) > 1
    assert (end.data.train.y * end.f_train >= 1 - 1e-8).all()
    assert (end.N_delta_at[:, 0] > 0).all() and (end.N_delta_at[:, 2] == 0).all()
    alone = train(easy[1:2])
    torch.testing.assert_close(alone.f_train, end.f_train[1:2], rtol=1e-9, atol=1e-9)
    assert alone.t[0] == end.t[1] and alone.N_delta_at.tolist() == end.N_delta_at[1:2].tolist()


def test_descents_of_a_batch_do_not_mix():
    setups = [SMALL.replace(dynamics="descent", P=P, seed=seed, h=3) for P, seed in ((60, 0), (60, 1))]
    both, alone = train(setups), train(setups[1:])
    assert torch.equal(both.f_train[1:], alone.f_train) and both.state[1] == alone.state[0]
    assert both.N_delta_at.shape == (2, 3)


@pytest.mark.parametrize("P, states", [(4, {FITTED}), (90, {MINIMUM, OUT_OF_TIME})])
def test_a_descent_fits_few_patterns_and_not_many(P, states):
    end = train([SMALL.replace(dynamics="descent", P=P, h=2, t_max=400.0)])
    assert set(end.state.tolist()) <= states
    assert (int(end.N_delta[0]) == 0) == (P == 4)
    U = (1 - end.data.train.y * end.f_train).clamp(min=0).square().mean() / 2
    assert (float(U) <= 1e-20) == (P == 4)


def test_flow_and_descent_agree_where_the_landscape_is_convex():
    """Deep in the lazy regime the net is linear in its weights, and the way does not matter for whether it fits."""
    lazy = SMALL.replace(h=32, alpha_tilde=1e4, P=20)
    flow = train([lazy.replace(dynamics="flow", t_max=math.inf)])
    down = train([lazy.replace(dynamics="descent", t_max=200.0)])
    assert flow.N_delta.tolist() == down.N_delta.tolist() == [0]
    assert flow.state.tolist() == down.state.tolist() == [FITTED]


def test_what_is_no_flow_has_no_method():
    with pytest.raises(ValueError, match="'adam' is no flow and has no other method, got 'euler'"):
        train([SMALL], method="euler")


# weight decay and stochastic gradient descent ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["euler", "rkc", "implicit"])
def test_a_lazy_flow_with_decay_is_the_linear_one(method):
    """For the squared loss and a frozen kernel f' = (Theta / P) (y - f) - decay f, which is solved exactly."""
    setup = SMALL.replace(dynamics="flow", loss="squared", alpha_tilde=1e5, h=30, P=12, t_max=7.0, decay=0.05)
    end = train([setup.replace(seed=seed) for seed in (0, 1)], method=method, tol=0.1 if method == "euler" else 1e-4)
    K = ntk(end.network, end.w0, end.data.train.x) / setup.P
    y = end.data.train.y
    for run in range(2):
        A = K[run] + 0.05 * torch.eye(setup.P, dtype=K.dtype)
        rest = torch.linalg.solve(A, K[run] @ y)
        exact = rest - torch.linalg.matrix_exp(-7.0 * A) @ rest
        assert float((end.f_train[run] - exact).abs().max()) < 2e-3
    assert float((end.f_train - exact).abs().max()) > 2e-3  # another run is another flow


def test_a_descent_with_decay_ends_where_both_forces_balance():
    setup = SMALL.replace(dynamics="descent", P=60, decay=1e-3, t_max=300.0, alpha_tilde=3.0)
    end = train([setup.replace(seed=seed) for seed in range(3)])
    assert end.state.tolist() == [HELD] * 3 and not certified(end).any()
    assert end.N_delta_at.shape == (3, 3) and (end.N_delta_at[:, 2] == end.N_delta).all()
    alpha, y = 3.0 / setup.h**0.5, end.data.train.y
    for run in range(3):
        w0, w = ({name: value[run : run + 1] for name, value in ws.items()} for ws in (end.w0, end.w))
        start = end.network.apply(w0, end.data.train.x)

        def total(w, w0=w0, start=start):
            U = (1 - y * alpha * (end.network.apply(w, end.data.train.x) - start)).clamp(min=0).square().mean() / 2
            away = sum((w[name] - w0[name]).square().sum() for name in w)
            return U / alpha**2 + 1e-3 * away / 2

        gradient = torch.func.grad(total)(w)
        assert max(float(g.abs().max()) for g in gradient.values()) < 1e-7
    free = train([setup.replace(decay=0.0)])
    assert float(free.f_train.square().mean()) > float(end.f_train[0].square().mean())


def test_sgd_with_the_whole_set_is_gradient_descent():
    setup = SMALL.replace(dynamics="sgd", t_max=50.0, batch=40, rate=0.5, decay=0.01)
    end = train([setup])
    w = {name: value.clone() for name, value in end.w0.items()}
    y, alpha, start = end.data.train.y, 1.0, end.network.apply(end.w0, end.data.train.x)

    def U(w):
        return (1 - y * alpha * (end.network.apply(w, end.data.train.x) - start)).clamp(min=0).square().mean() / 2

    for _ in range(50):
        gradient = torch.func.grad(U)(w)
        w = {name: w[name] - 0.5 * (gradient[name] + 0.01 * (w[name] - end.w0[name])) for name in w}
    torch.testing.assert_close(end.f_train, end.network.apply(w, end.data.train.x) - start, rtol=1e-8, atol=1e-8)
    assert end.t.tolist() == [50] and end.state.tolist() == [OUT_OF_TIME]


def test_sgd_makes_whole_epochs_of_its_own_batches():
    """Every run draws its own batches, alone or not, and a run that fits stops."""
    setups = [SMALL.replace(dynamics="sgd", t_max=205.0, batch=7, rate=0.1, seed=seed) for seed in (0, 1)]
    both, alone = train(setups), train(setups[1:])
    assert torch.equal(both.f_train[1:], alone.f_train) and both.t.tolist() == [205, 205]
    easy = train([setups[0].replace(P=6, batch=2, h=16, alpha_tilde=4.0, t_max=5e4)])
    assert easy.state.tolist() == [FITTED] and float(easy.t) % 3 == 0 and int(easy.N_delta_at[0, 2]) == 0
    assert (easy.data.train.y * easy.f_train >= 1 - 1e-8).all()


@pytest.mark.parametrize(
    "change, sentence",
    [
        (dict(dynamics="sgd"), "sgd needs a batch of 1 to P = 40 patterns and a positive rate, got 0 and 0.0"),
        (dict(dynamics="sgd", batch=41, rate=0.1), "got 41 and 0.1"),
        (dict(batch=4), "belong to 'sgd', got 4"),
        (dict(decay=-1.0), "decay must be zero or positive"),
        (dict(decay=math.inf), "decay must be zero or positive"),
        (dict(dynamics="descent", ceiling=1.0), "a ceiling is above one"),
        (dict(dynamics="flow", ceiling=3.0), "for a 'descent', got 3.0 for 'flow'"),
    ],
)
def test_what_cannot_be_trained_is_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        SMALL.replace(**change)


def test_a_ceiling_bounds_the_predictor_from_above():
    """A fitted net has 1 <= y f <= ceiling, which it had not without; where that cannot be, both kinds are counted."""
    setup = SMALL.replace(dynamics="descent", P=20, h=8, t_max=400.0)
    free, held = train([setup]), train([setup.replace(ceiling=1.5)])
    assert free.state.tolist() == held.state.tolist() == [FITTED]
    y = free.data.train.y
    assert float((y * free.f_train).max()) > 1.6
    assert held.f_train.shape == (1, 50) and torch.equal(held.f_train[:, :20], held.f_train[:, 20:40])
    assert float(held.predictor(held.data.kernel.x).abs().max()) < 1.5 + 1e-8
    margin = y * held.f_train[:, :20]
    assert float(margin.min()) > 1 - 1e-8 and float(margin.max()) < 1.5 + 1e-8
    assert N_delta(held).tolist() == [0] and float(train_loss(held)[0]) < 1e-19

    jammed = train([setup.replace(P=60, h=3, ceiling=1.05, t_max=300.0)])
    margin, others = jammed.data.train.y[:60] * jammed.f_train[0, :60], jammed.predictor(jammed.data.kernel.x)[0]
    above = torch.cat([margin, others.abs()]) - 1.05
    U = ((1 - margin).clamp(min=0).square().sum() + above.clamp(min=0).square().sum()) / (2 * 130)
    assert float(train_loss(jammed)[0]) == pytest.approx(float(U), rel=1e-6)
    assert int(N_delta(jammed)[0]) == int((margin < 1).sum() + (above > 0).sum()) > 0
    assert int((margin > 1.05).sum()) > 0


def test_a_convolutional_net_is_trained_like_any_other():
    """On digits to the end, by implicit and by explicit steps: the same predictor."""
    setup = Setup(dataset="digits", preprocessing="none", P=30, P_test=50, P_kernel=10, d=64, h=8, L=1, alpha_tilde=9.0,
                  architecture="cnn")  # fmt: skip
    ends = [train([setup]), train([setup], method="rkc")]
    assert [end.state.tolist() for end in ends] == [[FITTED]] * 2
    one, two = (end.f_test for end in ends)
    assert float((one - two).square().mean().sqrt()) < 0.03 * float(one.square().mean().sqrt())
    with pytest.raises(ValueError, match="8 x 8 pixels allow 2 convolutional layers, got L = 4"):
        setup.replace(L=4)


def test_nothing_is_trained():
    setups = [Setup(P=20, P_test=30, P_kernel=10, h=8, dynamics="none", seed=seed) for seed in range(2)]
    end = train(setups)
    for name, w in end.w.items():
        torch.testing.assert_close(w, end.w0[name])
    assert not end.f_train.any() and not end.f_test.any() and end.N_delta.tolist() == [20, 20]
    assert end.t.tolist() == [0, 0] and not N_delta(end).isnan().any() and end.w_tenth is None
