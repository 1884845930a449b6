"""Any module as the book sees a network: its kernel against gradients taken one by one."""

import pytest
import torch
from torch import nn

from lazyjam.modules import margins, outputs, tangent_kernel


def by_hand(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """J J^T from one backward pass for every output of every pattern."""
    weights = [w for w in net.parameters() if w.requires_grad]
    rows = [torch.cat([g.flatten() for g in torch.autograd.grad(value, weights, retain_graph=True)])
            for value in net(x).reshape(-1)]  # fmt: skip
    return torch.stack(rows) @ torch.stack(rows).T


class WithAScale(nn.Module):
    """A parameter without an axis, a buffer, and weights that are used twice."""

    def __init__(self):
        super().__init__()
        self.one, self.scale = nn.Linear(4, 4).double(), nn.Parameter(torch.tensor(1.5, dtype=torch.float64))
        self.register_buffer("shift", torch.ones(4, dtype=torch.float64))

    def forward(self, x):
        return (self.scale * torch.tanh(self.one(torch.tanh(self.one(x)) + self.shift))).sum(1)


def cnn() -> nn.Module:
    net = nn.Sequential(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(),
                        nn.Linear(3, 2)).double()  # fmt: skip
    return net.eval()


class Squeezed(nn.Module):
    """One number for a pattern, without an axis where the pattern is alone."""

    def __init__(self, K=1):
        super().__init__()
        self.one = nn.Linear(4, K).double()

    def forward(self, x):
        return torch.tanh(self.one(x)).squeeze()


@pytest.mark.parametrize("net", [nn.Linear(4, 1).double(), WithAScale(), cnn(), Squeezed(), Squeezed(3)])
def test_the_kernel_is_that_of_all_gradients(net):
    torch.manual_seed(0)
    x = torch.randn(5, 4, dtype=torch.float64)
    assert torch.allclose(tangent_kernel(net, x)[0], by_hand(net, x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("K", [1, 3])
def test_a_net_that_squeezes_its_outputs(K):
    net, x = Squeezed(K), torch.randn(1001, 4, dtype=torch.float64)
    f = outputs(net, x)
    assert f.shape == (1001, K) and torch.equal(outputs(net, x[-1:]), f[-1:])
    assert torch.allclose(tangent_kernel(net, x[:1])[0], by_hand(net, x[:1]))


def test_inputs_are_taken_in_the_precision_of_the_net():
    net, x = nn.Linear(2, 1), torch.randn(5, 2)
    assert torch.equal(outputs(net, x.double()), outputs(net, x))
    assert torch.equal(tangent_kernel(net, x.double()), tangent_kernel(net, x))


def test_many_patterns_are_evaluated_in_parts():
    net, x = nn.Linear(2, 1), torch.randn(2500, 2)
    assert torch.allclose(outputs(net, x), net(x).double(), atol=1e-6) and outputs(net, x).shape == (2500, 1)


def test_margins_of_an_ensemble_of_scores():
    f = torch.tensor([[[1.0, 3.0, 2.5], [0.0, -1.0, 4.0]], [[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    assert margins(f, torch.tensor([1, 2])).tolist() == [[0.5, 4.0], [-2.0, 0.0]]
    assert margins(f[..., :1], torch.tensor([1.0, -1.0])).tolist() == [[1.0, 0.0], [2.0, 0.0]]
