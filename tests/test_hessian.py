"""The Hessian of the quadratic hinge, against automatic differentiation and against another library."""

import pytest
import torch
from curvlinops import GGNLinearOperator

from lazyjam.hessian import contacts, hessian, negative, spectrum_0
from lazyjam.networks import fully_connected
from lazyjam.tangents import flatten, stack, unflatten

P, D, H = 40, 8, 5
SMOOTH = ["softplus5", "swish10", "tanh"]


def problem(L: int, activation: str, bias: bool = True, runs: int = 2):
    """A batch of nets at random weights with alpha = 0.7, 1.3, ..., and their Delta."""
    network, generator = fully_connected(D, H, L, activation, bias), torch.Generator().manual_seed(L)
    w0 = stack([network.init(generator) for _ in range(runs)])
    w = {name: one + 2 * torch.randn(one.shape, generator=generator, dtype=one.dtype) for name, one in w0.items()}
    x = torch.randn(P, D, generator=generator, dtype=torch.float64)
    y = torch.where(torch.arange(P) % 2 == 0, 1.0, -1.0).double()
    alpha = 0.7 + 0.6 * torch.arange(runs, dtype=torch.float64)
    f_tilde_0 = network.apply(w0, x)
    tangent = network.tangent(w, x)
    return network, w, x, y, alpha, f_tilde_0, tangent, 1 - y * alpha[:, None] * (tangent.f - f_tilde_0)


@pytest.mark.parametrize("L, activation", [(L, activation) for L in (1, 2, 3) for activation in SMOOTH])
def test_hessian_is_the_second_derivative_of_the_energy(L, activation):
    network, w, x, y, alpha, f_tilde_0, tangent, delta = problem(L, activation)
    for run in range(len(alpha)):
        one = {name: value[run : run + 1] for name, value in w.items()}

        def U(flat, one=one, run=run):
            f = alpha[run] * (network.apply(unflatten(flat[None], one), x)[0] - f_tilde_0[run])
            return (1 - y * f).clamp(min=0).square().sum() / (2 * P)

        expected = torch.func.hessian(U)(flatten(one)[0])
        found = sum(hessian(tangent, y, delta, alpha[run], run))
        assert 5 < int((delta[run] > 0).sum()) < P
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10 * float(expected.abs().max()))


def test_H_0_is_the_gauss_newton_matrix_of_curvlinops():
    network, w, x, y, _, f_tilde_0, tangent, delta = problem(2, "tanh", bias=False, runs=1)

    class Unbatched(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = torch.nn.ParameterList([torch.nn.Parameter(value[0]) for value in w.values()])

        def forward(self, x):
            return network.apply({name: one[None] for name, one in zip(w, self.weights, strict=True)}, x).T

    model, rows = Unbatched(), contacts(tangent, y, delta, 1.0).rows
    data = [(x[rows], (y[rows] + f_tilde_0[0, rows])[:, None])]
    matrix = GGNLinearOperator(model, torch.nn.MSELoss(reduction="sum"), list(model.parameters()), data)
    H_0, _ = hessian(tangent, y, delta, 1.0)
    dense = matrix @ torch.eye(len(H_0), dtype=torch.float64)
    torch.testing.assert_close(H_0, dense / (2 * P), rtol=1e-10, atol=1e-12)


def test_rank_and_spectrum_of_H_0():
    *_, y, alpha, _, tangent, delta = problem(2, "tanh")
    for run in range(2):
        J = contacts(tangent, y, delta, alpha[run], run).jacobian
        H_0 = hessian(tangent, y, delta, alpha[run], run)[0]
        dense = torch.linalg.eigvalsh(H_0)
        assert len(J) < len(H_0)
        assert int((dense > 1e-13 * dense[-1]).sum()) == len(J)
        torch.testing.assert_close(spectrum_0(J, P), dense, rtol=1e-8, atol=1e-12 * float(dense[-1]))
        torch.testing.assert_close(spectrum_0(J[:, :5], P), torch.linalg.eigvalsh(J[:, :5].T @ J[:, :5]) / P)


def test_bending_of_a_relu_net_has_as_many_negative_as_positive_eigenvalues():
    """One hidden layer: every neuron couples its weights before and after it, and nothing else."""
    *_, y, alpha, _, tangent, delta = problem(1, "relu", bias=False)
    values = torch.linalg.eigvalsh(hessian(tangent, y, delta, alpha[0])[1])
    assert negative(values) == negative(-values) == H
    torch.testing.assert_close(values, -values.flip(0), rtol=1e-10, atol=1e-12)


def test_rounding_is_not_negative():
    values = torch.tensor([-1.0, -1e-9, -1e-12, 0.0, 10.0], dtype=torch.float64)
    assert negative(values) == 1
    assert negative(values[1:4]) == 2
    assert negative(torch.zeros(3, dtype=torch.float64)) == 0
