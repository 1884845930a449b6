"""The linear system of an implicit step: all its forms have one solution."""

import math

import pytest
import torch
from problems import make, normal, tensor

from lazyjam import solver
from lazyjam.networks import convolutional, from_function, fully_connected
from lazyjam.tangents import flatten


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("h, P, loss", [(30, 40, "soft_hinge"), (8, 200, "squared")])
def test_solvers_in_function_space_in_the_parameters_and_for_all_runs_agree(bias, h, P, loss, monkeypatch):
    monkeypatch.setattr(solver, "MAX_DENSE", 0)
    problem = make(fully_connected(4, h, 2, bias=bias), loss, tensor(0.5, 9.0), normal(P, 4), normal(P).sign())
    w = flatten(problem.like)
    point, dt = problem.at(w + 0.3 * normal(*w.shape, seed=3) / problem.alpha[:, None]), tensor(0.6, 5.0)

    def solved(dt, fraction, few, together):
        monkeypatch.setattr(solver, "PER_STIFF_PATTERN", few)
        monkeypatch.setattr(solver, "together", lambda point: together)
        solvers = solver.solvers(problem, point, dt)
        assert len(solvers) == (1 if together else 2) and {one.in_parameters for one in solvers} == {few == math.inf}
        return solver.solve(point.tangent, [one.at(fraction) for one in solvers], point.v)

    for some, ways in ((dt, [(math.inf, False), (0.0, True), (math.inf, True)]), (1e-9 * dt, [(0.0, True)])):
        for fraction in (1.0, 0.5):
            plain = solved(some, fraction, 0.0, False)
            for few, together in ways:
                torch.testing.assert_close(solved(some, fraction, few, together), plain, rtol=1e-10, atol=1e-13)
    monkeypatch.undo()
    monkeypatch.setattr(solver, "MAX_DENSE", 0)
    monkeypatch.setattr(solver, "together", lambda point: False)
    each = solver.solvers(problem, point, dt)
    assert len({len(one._rows) for one in each}) == 2, "the runs have different numbers of stiff patterns"
    assert {one.in_parameters for one in each} == {P > 100}, "by default it is what is quicker"


@pytest.mark.parametrize("bias", [False, True])
def test_whole_hessians_of_all_runs_at_once_and_run_by_run_agree(bias, monkeypatch):
    P = 60
    problem = make(fully_connected(4, 6, 3, bias=bias), "soft_hinge", tensor(0.5, 9.0), normal(P, 4), normal(P).sign())
    w = flatten(problem.like)
    point, dt = problem.at(w + 0.3 * normal(*w.shape, seed=3) / problem.alpha[:, None]), tensor(0.6, 5.0)
    some = problem.loss.curvature(problem.delta(point.f))
    assert len({int(n) for n in (dt[:, None] / P * some > 1e-9).sum(1)}) == 2, "different numbers of stiff patterns"
    for some in (dt, 1e-12 * dt):  # in the second no pattern is stiff
        solved = []
        for together in (True, False):
            monkeypatch.setattr(solver, "together", lambda point, together=together: together)
            found = [one.at(0.5) for one in solver.solvers(problem, point, some)]
            assert len(found) == (1 if together else 2)
            solved.append(solver.solve(point.tangent, found, point.v))
        torch.testing.assert_close(*solved, rtol=1e-10, atol=1e-13)


def test_one_solver_serves_all_runs_while_there_is_little_to_do():
    def common(h: int, P: int) -> bool:
        problem = make(fully_connected(4, h, 2), "soft_hinge", tensor(0.5, 9.0), normal(P, 4), normal(P).sign())
        return solver.together(problem.at(flatten(problem.like)))

    assert common(8, 60) and common(40, 60) and not common(8, 8000) and not common(100, 200)


def test_solvers_agree_where_the_jacobian_is_kept_and_where_it_comes_by_autograd(monkeypatch):
    kept = convolutional(16, 3, 1)
    for network in (kept, from_function(kept.init, kept.apply)):
        problem = make(network, "squared", tensor(0.5, 9.0), normal(200, 16), normal(200).sign())
        point, solved = problem.at(flatten(problem.like)), []
        monkeypatch.setattr(solver, "MAX_DENSE_BY_AUTOGRAD", 0)
        for few in (0.0, math.inf):
            monkeypatch.setattr(solver, "PER_STIFF_PATTERN", few)
            solvers = [one.at(1.0) for one in solver.solvers(problem, point, tensor(0.6, 5.0))]
            solved.append(solver.solve(point.tangent, solvers, point.v))
        torch.testing.assert_close(*solved, rtol=1e-10, atol=1e-13)
