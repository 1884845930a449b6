"""The flow itself: velocity and predictor against automatic differentiation, and parts of a batch."""

import weakref

import pytest
import torch
from problems import make, minus_gradient, normal, tensor

from lazyjam.chebyshev import Stages
from lazyjam.losses import LOSSES
from lazyjam.networks import fully_connected
from lazyjam.tangents import flatten


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("bias", [False, True])
def test_velocity_is_minus_the_gradient_over_alpha_squared(loss, bias):
    y = normal(9, seed=2).sign()
    problem = make(fully_connected(4, 6, 2, bias=bias), loss, tensor(0.01, 0.7, 30.0), normal(9, 4), y)
    start = flatten(problem.like)
    w = start + 0.3 * normal(*start.shape, seed=3) / problem.alpha[:, None]
    assert problem.at(start).f.eq(0).all(), "the predictor is zero before training"
    torch.testing.assert_close(problem.at(w).v, minus_gradient(problem, w), rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(problem.at(start).v, minus_gradient(problem, start), rtol=1e-10, atol=1e-14)


def test_a_part_of_the_batch_is_the_same_problem():
    problem = make(fully_connected(4, 6, 2), "soft_hinge", tensor(0.1, 1.0, 10.0), normal(9, 4), normal(9).sign())
    w, runs = flatten(problem.like) + 0.1, torch.tensor([2, 0])
    part, whole = problem.of(runs).at(w[runs]), problem.at(w)
    torch.testing.assert_close(part.f, whole.f[runs], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(part.v, whole.v[runs], rtol=1e-12, atol=1e-12)


class Unrecorded(Stages):
    """What stages need, on a machine that cannot record them."""

    def __init__(self, velocity, like):
        self.velocity, self.like = velocity, like


def test_recorded_stages_do_not_keep_their_problem(monkeypatch):
    """A run that ends makes another problem, and what was recorded for the last would stay in the memory of a GPU."""
    monkeypatch.setattr("lazyjam.problem.Stages", Unrecorded)
    problem = make(fully_connected(4, 6, 2), "soft_hinge", tensor(0.5, 2.0), normal(9, 4), normal(9).sign())
    w, part = flatten(problem.like)[1:], problem.of(torch.tensor([False, True]))
    stages, v, gone = part.stages, part.at(w).v, weakref.ref(part)
    del part
    assert gone() is None
    assert stages.like.shape == w.shape and torch.equal(stages.velocity(w), v)
