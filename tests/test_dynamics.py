"""Descent and Adam as ways to train, next to gradient flow."""

import math

import pytest
import torch

from lazyjam import dynamics
from lazyjam.flow import FITTED, MINIMUM, OUT_OF_TIME
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
