"""The landscape between minima, against closed forms of a linear net and against automatic differentiation."""

import dataclasses

import pytest
import torch

from lazyjam import Setup, landscape, train
from lazyjam.hessian import hessian
from lazyjam.kernels import linearise
from lazyjam.landscape import POINTS, along, bent, curvature, flat_directions, loss_at, loss_between, loss_in_plane
from lazyjam.losses import LOSSES
from lazyjam.networks import from_function
from lazyjam.problem import Problem
from lazyjam.tangents import flatten, stack, unflatten

SMALL = dict(dataset="random", preprocessing="none", d=4, L=2, activation="softplus5", bias=True, P_test=10, P_kernel=0)
FITS = Setup(**SMALL, P=12, h=6, loss="quadratic_hinge", dynamics="descent", t_max=200.0)


def linear(P: int = 30, N: int = 5, loss: str = "squared") -> Problem:
    """f = 2 w . x, from w_0 = 0."""
    network = from_function(lambda g: {"w": torch.zeros(N, dtype=torch.float64)}, lambda w, x: w["w"] @ x.T)
    x = torch.randn(P, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w0, alpha = stack([network.init(None)]), torch.tensor([2.0], dtype=torch.float64)
    return Problem(network, w0, x, torch.ones(P).double(), LOSSES[loss], alpha, network.apply(w0, x))


def test_the_loss_of_a_linear_net_is_a_parabola_in_every_direction():
    problem = linear()
    a, b = torch.randn(2, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    found = loss_at(problem, along(torch.stack([a, b]), t))
    f_a, f_b = 2 * problem.x @ a, 2 * problem.x @ b
    expected = [float((1 - (1 - s) * f_a - s * f_b).square().mean() / 2) for s in t]
    assert found.tolist() == pytest.approx(expected, rel=1e-12)
    assert torch.diff(found, n=2).std() < 1e-12 * found.max()  # second differences are all the same


def test_a_path_visits_its_corners():
    corners = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 2.0]])
    found = along(corners, torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
    assert found.tolist() == [[0, 0], [0.5, 1], [1, 2], [2, 2], [3, 2]]


def test_the_bend_avoids_what_is_in_the_way():
    """f = w_1^2 + w_2^2 is to be at least one: from (2, 0) to (-2, 0) the straight path fails, and a bend does not."""
    network = from_function(lambda g: {"w": torch.zeros(2).double()}, lambda w, x: w["w"].square() @ x.T)
    x, w0 = torch.ones(1, 2).double(), stack([network.init(None)])
    problem = Problem(network, w0, x, torch.ones(1).double(), LOSSES["quadratic_hinge"], torch.ones(1).double(),
                      network.apply(w0, x))  # fmt: skip
    a, b = torch.tensor([[2.0, 0.1]]).double(), torch.tensor([[-2.0, 0.1]]).double()
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    middle = bent(problem, a, b)
    assert float(loss_at(problem, along(torch.cat([a, b]), t)).max()) == pytest.approx((1 - 0.01) ** 2 / 2)
    assert float(loss_at(problem, along(torch.cat([a, middle, b]), t)).max()) < 1e-6
    assert float(along(torch.cat([a, middle, b]), t).norm(dim=1).min()) > 0.999


def test_the_bend_of_a_convex_landscape_is_not_needed():
    problem = linear(loss="quadratic_hinge", P=4)
    a, b = (torch.linalg.lstsq(problem.x, torch.full((4, 1), one).double()).solution.T for one in (0.6, 0.9))
    torch.testing.assert_close(bent(problem, a, b), (a + b) / 2)


def test_two_solutions_are_two_solutions_of_one_landscape():
    trained = train([FITS])
    straight, bend = loss_between(trained)[0]
    assert straight.shape == (POINTS,) and POINTS % (landscape.NODES + 1) == 1
    assert max(straight[[0, -1]].max(), bend[[0, -1]].max()) < 1e-18 and straight.max() > 1e-3
    assert bend.max() < 1e-2 * straight.max()
    (problem, (a, _, b)), w0 = landscape._corners(trained, 0), flatten(trained.w0)[0]
    torch.testing.assert_close(a, flatten(trained.w)[0])
    drawn = flatten(stack([FITS.network.init(torch.Generator().manual_seed(landscape.OTHER))]))[0]
    assert (b - drawn).norm() < (b - w0).norm(), "it was trained from weights of its own"
    assert float(loss_at(problem, w0[None])) == pytest.approx(0.5)


def test_the_plane_holds_the_three_points():
    trained = train([FITS])
    plane, (straight, bend) = loss_in_plane(trained)[0], loss_between(trained)[0]
    axis = landscape.slice_axis()
    at = {u: int((axis - u).abs().argmin()) for u in (0.0, 0.5, 1.0)}
    assert float(axis[0]) == -landscape.MARGIN and plane.shape == (landscape.SIDE, landscape.SIDE)
    assert axis[list(at.values())].tolist() == pytest.approx(list(at))
    assert plane[at[0.0], at[0.0]] < 1e-12 and plane[at[0.0], at[1.0]] < 1e-12
    assert float(plane[at[0.0], at[0.5]]) == pytest.approx(float(straight[POINTS // 2]), rel=1e-6)
    assert float(plane[at[1.0], at[0.5]]) == pytest.approx(float(bend[POINTS // 2]), rel=1e-4, abs=1e-12)


def test_around_the_minimum_of_a_linear_net_is_a_paraboloid():
    """A net to first order in its weights: the loss is quadratic along every line, by second differences."""
    trained = train([Setup(**SMALL, P=20, h=3, loss="squared", t_max=1e4)])
    again = dataclasses.replace(trained, network=linearise(trained.network, trained.w0))
    (x, y), axis = trained.data.train, landscape.disc_axis()
    around = landscape.loss_around(again)[0].double()
    middle, expected = len(axis) // 2, (1 - y * again.predictor(x)).square().mean() / 2
    assert float(around[middle, middle]) == pytest.approx(float(expected), rel=1e-5)
    for line in (around[middle], around[:, middle], around.diagonal()):
        bends = torch.diff(line, n=2)
        assert float(bends.std() / bends.mean()) < 1e-2 and float(bends.mean()) > 0
    u, v = torch.meshgrid(axis, axis, indexing="xy")
    on_rim = (u**2 + v**2 - 1).abs() < 0.02
    assert float(around[on_rim].mean() - around[middle, middle]) == pytest.approx(landscape.RISE, rel=0.1)


def test_paths_join_minima():
    with pytest.raises(ValueError, match="paths join minima that a descent found, .* got 'flow' with ceiling = inf"):
        loss_between.needs(FITS.replace(dynamics="flow"))


@pytest.mark.parametrize("loss", ["squared", "quadratic_hinge", "soft_hinge"])
def test_the_hessian_is_the_second_derivative_of_the_loss(loss):
    trained = train([Setup(**SMALL, P=20, h=3, loss=loss, t_max=3.0, alpha_tilde=2.0)])
    x, y = trained.data.train

    def total(flat):
        outputs = trained.network.apply(unflatten(flat[None], trained.w), x) - trained.network.apply(trained.w0, x)
        return LOSSES[loss].value(1 - y * trained.alpha[0] * outputs[0]).mean()

    expected = torch.func.hessian(total)(flatten(trained.w)[0])
    torch.testing.assert_close(curvature(trained, 0), expected, rtol=1e-8, atol=1e-9)
    if loss == "quadratic_hinge":
        parts = hessian(trained.tangent, y, trained.delta, trained.alpha[0])
        torch.testing.assert_close(curvature(trained, 0), sum(parts))


def test_all_directions_but_P_are_flat_where_a_square_vanishes():
    setup = Setup(**SMALL, P=10, h=8, loss="squared", t_max=1e5)
    trained = train([setup])
    assert float(trained.delta.abs().max()) < 1e-8
    assert flat_directions(trained).tolist() == [setup.N - 10]
