"""Diagnosing any module: regimes that are known by construction, and numbers that have an independent way."""

import copy
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lazyjam import Setup, diagnose, train
from lazyjam.diagnosis import Diagnosis
from lazyjam.ensembles import parts_of_ensemble
from lazyjam.kernels import relative_change
from lazyjam.observables import test_error as share_missed
from lazyjam.setups import Trained

SEEDS = 4
TINY = Setup(dataset="digits", P=20, P_test=100, P_kernel=20, d=10, L=1, h=24, alpha_tilde=0.1, t_max=1e4)


class OfThePackage(nn.Module):
    """alpha (f_tilde - f_tilde at the start), in the parametrisation of the package."""

    def __init__(self, trained: Trained, run: int, w: dict):
        super().__init__()
        self.network, self.alpha = trained.network, float(trained.alpha[run])
        self.first = {name: value[run : run + 1] for name, value in trained.w0.items()}
        self.w = nn.ParameterDict({name: value[run].clone() for name, value in w.items()})

    def forward(self, x):
        w = {name: value[None] for name, value in self.w.items()}
        return self.alpha * (self.network.apply(w, x) - self.network.apply(self.first, x))[0]


def trained_by_the_package(**fields) -> tuple[Trained, list]:
    one = TINY.replace(**fields)
    with torch.no_grad():
        trained = train([one.replace(seed=seed) for seed in range(SEEDS)])
    return trained, [tuple(OfThePackage(trained, run, w) for w in (trained.w0, trained.w)) for run in range(SEEDS)]


@pytest.fixture(scope="module")
def learned():
    return trained_by_the_package()


@pytest.mark.parametrize(
    ("fields", "regime"),
    [
        (dict(alpha_tilde=1e5), "lazy"),
        (dict(), "feature"),
        (dict(h=1, P=100, t_max=1e3), "jammed"),
        (dict(alpha_tilde=1e5, t_max=30.0), "unfinished"),
    ],
)
def test_the_regime_is_found(fields, regime, learned):
    trained, nets = trained_by_the_package(**fields) if fields else learned
    found = diagnose(nets, trained.data.train, trained.data.test, P_kernel=20)
    assert found.regime == regime and found.conclusion.lower().startswith(regime)
    assert found.N == trained.setup.N and found.P == trained.setup.P
    assert found.N_delta.tolist() == trained.N_delta.tolist()
    assert found.test_error == pytest.approx(share_missed(trained).numpy())


def test_the_kernel_is_that_of_the_library(learned):
    trained, nets = learned
    test = trained.data.test
    found = diagnose(nets, trained.data.train, test, P_kernel=len(test.y))
    kernels = [trained.network.tangent(w, test.x) for w in (trained.w, trained.w0)]
    grams = [torch.stack([one.gram(run, torch.arange(len(test.y))) for run in range(SEEDS)]) for one in kernels]
    assert found.kernel_change == pytest.approx(relative_change(*grams).numpy(), rel=1e-10)


def test_the_ensemble_is_a_direct_average(learned):
    trained, nets = learned
    y, f = trained.data.test.y, trained.f_test
    found = diagnose(nets, trained.data.train, trained.data.test, P_kernel=1)
    assert found.ensemble_error == float((y * f.mean(0) <= 0).double().mean())
    assert found.gain[0] == pytest.approx(found.test_error.mean() - found.ensemble_error)
    error, single, fluctuation = parts_of_ensemble((y * f).numpy())[0]
    assert (found.ensemble_error, found.test_error.mean()) == pytest.approx((error, single))
    assert found.fluctuation[0] == pytest.approx(fluctuation) and 0 < found.fluctuation[1] < found.fluctuation[0]


# what is known in closed form ----------------------------------------------------------------------------------------


class Linear(nn.Module):
    """f = scale^2 w.x, so that the kernel is scale^4 x.x' + (2 scale w.x)(2 scale w.x')."""

    def __init__(self, w, scale=1.0):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64), requires_grad=False)
        self.scale = nn.Parameter(torch.tensor(scale, dtype=torch.float64))

    def forward(self, x):
        return self.scale**2 * (x @ self.w)


X = torch.from_numpy(np.random.default_rng(1).standard_normal((400, 3)))
Y = torch.where(X[:, 0] > 0, 1.0, -1.0).double()


def test_only_what_is_trained_counts():
    """Of f = scale^2 w.x with w frozen the kernel grows with the square of the scale."""
    found = diagnose([(Linear([1.0, 0, 0], 1.0), Linear([1.0, 0, 0], 3.0))], (X, Y), (X, Y))
    assert found.N == 1 and found.kernel_change == pytest.approx([8.0])
    assert found.N_delta.tolist() == [int((9 * X[:, 0].abs() < 1).sum())] and found.test_error.tolist() == [0.0]
    signs = diagnose([(Linear([1.0, 0, 0]), Linear([1.0, 0, 0], 3.0))], (X, Y), (X, Y), margin=0.0)
    assert signs.N_delta.tolist() == [0]


def test_error_bars_are_those_of_a_known_spread():
    """The predictor is x_0 and a normal noise in another direction, drawn anew for every net."""
    noise = np.random.default_rng(2).standard_normal(60)
    nets = [(Linear([1.0, size, 0]), Linear([1.0, size, 0], 2.0 + 0.1 * one)) for one, size in enumerate(noise)]
    found = diagnose(nets[:20], (X, Y), (X, Y), P_kernel=3)
    changes = (2 + 0.1 * np.arange(20)) ** 2 - 1
    assert found.kernel_change == pytest.approx(changes)
    value, error = map(float, re.search(r"kernel +([\d.]+) ± ([\d.]+)", str(found)).groups())
    assert value == pytest.approx(np.exp(np.log(changes).mean()), abs=error)
    assert error == pytest.approx(value * np.log(changes).std(ddof=1) / np.sqrt(20), rel=0.2)
    gains = [diagnose(nets[i : i + 6], (X, Y), (X, Y), P_kernel=1).gain for i in range(0, 60, 6)]
    values, errors = np.array(gains).T
    assert 0.5 < np.median(errors) / values.std() < 2


def test_classes_are_told_by_scores():
    """Three scores that are coordinates: the margin is the score of the class less the best of the others."""
    net = nn.Linear(3, 3, bias=False).double()
    start = copy.deepcopy(net)
    net.weight.data = torch.eye(3, dtype=torch.float64)
    y = X.argmax(1)
    found = diagnose([(start, net)], (X, y), (X, (y + 1) % 3))
    best = X.sort(dim=1).values
    assert found.N_delta.tolist() == [int((best[:, 2] - best[:, 1] < 1).sum())]
    assert found.test_error.tolist() == [1.0] and found.kernel_change == [0.0]
    assert found.linear and found.change[0] == 0 and "kernel  0; the net is linear in its weights\n" in str(found)


def test_two_scores_are_as_good_as_their_difference():
    torch.manual_seed(0)
    two = nn.Linear(3, 2).double(), nn.Linear(3, 2).double()

    class Difference(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x) @ torch.tensor([[-1.0], [1.0]], dtype=torch.float64)

    scores = diagnose([two], (X, (Y > 0).long()), (X, (Y > 0).long()))
    one = diagnose([(Difference(two[0]), Difference(two[1]))], (X, Y), (X, Y))
    assert scores.N_delta == one.N_delta and scores.test_error == one.test_error


def test_images_of_any_type_and_nets_with_dropout():
    """Integers through an embedding, and dropout that is off."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 1))
    start = copy.deepcopy(net)
    nn.init.normal_(net[3].weight)
    x = torch.randint(0, 5, (50, 3))
    found = diagnose([(start, net)], (x, torch.ones(50)), (x, torch.ones(50)))
    assert found.kernel_change > 0 and net.training


# words ---------------------------------------------------------------------------------------------------------------

SAID = Diagnosis(
    N=100, P=50, margin=1.0, kernel_change=np.array([0.1, 0.2, 0.1, 0.2]), N_delta=np.zeros(4, int),
    test_error=np.array([0.05, 0.06, 0.05, 0.06]), ensemble_error=0.04, gain=np.array([0.015, 0.002]),
    fluctuation=np.array([0.3, 0.1]),
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "regime", "words"),
    [
        ({}, "lazy", "smaller, by 7.1 times at most"),
        ({"kernel_change": np.zeros(4)}, "lazy", "Its kernel cannot change, and it has no feature regime. Average"),
        ({"kernel_change": np.array([4.0, 5.0])}, "feature", "4.47 ± 0.4"),
        ({"kernel_change": np.array([0.5, 1.3])}, "cross-over", "cannot be told from 1"),
        ({"N_delta": np.array([20, 30, 0, 10])}, "jammed", "3 of 4 nets miss 20.0 ± 5"),
        ({"N_delta": np.array([6, 6, 0, 6])}, "jammed", "margins of P = 50, 0.06 per parameter."),
        ({"N_delta": np.array([5, 5, 0, 5])}, "jammed", "miss 5 ± 0 margins of P = 50, 0.05 per parameter."),
        ({"N_delta": np.array([5, 5, 0, 4])}, "unfinished", "0.047 per parameter, too few"),
        ({"N_delta": np.array([2, 3, 0, 1])}, "unfinished", "Train on"),
        ({"N_delta": np.array([20, 30, 0, 0])}, "lazy", "7.1 times"),
        ({"gain": np.array([0.015, 0.01])}, "lazy", "not known to help"),
        ({"gain": np.array([0.015, np.nan])}, "lazy", "four seeds"),
        ({"gain": np.array([0.015, 0.002])}, "lazy",
         "Average them: the error of an ensemble of 4 is lower by 1.50 ± 0.20 percentage points."),
        ({"gain": np.array([-0.015, 0.01])}, "lazy", "not known to help: the error of an ensemble of 4 is higher by"),
        ({"gain": np.array([-0.015, 0.002])}, "lazy",
         "Do not average them: the error of an ensemble of 4 is higher by 1.50 ± 0.20 percentage points."),
    ],
)
def test_a_diagnosis_says_what_it_found(change, regime, words):
    one = replace(SAID, **change)
    assert one.regime == regime and words in one.conclusion
    assert one.conclusion in str(one) and one.conclusion in one._repr_mimebundle_()["text/markdown"]


def test_what_is_shown():
    assert str(SAID).startswith(
        "4 nets of N = 100 parameters\n"
        "  change of the kernel  0.141 ± 0.028 of its norm; 1 is the cross-over\n"
        "  margins below 1       0 of 4 nets miss any of P = 50\n"
        "  test error            5.50 ± 0.28 %, of the ensemble 4 %\n"
        "  fluctuation           0.30 ± 0.10 of the mean predictor\nLazy: "
    )
    assert "\n- test error: 5.50 ± 0.28 %, of the ensemble 4 %\n" in SAID._repr_mimebundle_()["text/markdown"]


def test_a_fluctuation_that_is_not_told_is_in_words():
    said = str(replace(SAID, fluctuation=np.array([np.nan, np.nan])))
    assert "fluctuation           too large for these seeds to tell the mean predictor from zero\n" in said
    mirrored = [(Linear([sign, 0, 0]), Linear([sign, 0, 0], 2.0)) for sign in (1.0, -1.0)]
    assert "too large for these seeds" in str(diagnose(mirrored, (X, Y), (X, Y)))


def test_a_single_net_has_no_error_bar():
    one = diagnose([(Linear([1.0, 0, 0]), Linear([1.0, 0, 0], 1.2))], (X, Y), (X, Y), margin=0.0)
    assert one.regime == "lazy" and np.isnan(one.gain).all() and "told by more seeds" in one.conclusion
    assert "±" not in str(one) and "nan" not in str(one)


# errors --------------------------------------------------------------------------------------------------------------


def two_of(net: nn.Module) -> list:
    torch.manual_seed(1)
    start, end = copy.deepcopy(net), copy.deepcopy(net)
    with torch.no_grad():
        for value in end.parameters():
            value.add_(torch.randn_like(value))
    return [(start, end)]


BATCH_NORM = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 1)).double()
LINEAR = nn.Linear(3, 1).double()


@pytest.mark.parametrize(
    ("nets", "train", "sentence"),
    [
        ([], (X, Y), "the nets are one net with different seeds, got no parameters"),
        ([(LINEAR, LINEAR)], (X, Y), "copy.deepcopy it before training"),
        ([(LINEAR, nn.Linear(3, 2).double())], (X, Y), "these differ in 'bias'"),
        (two_of(LINEAR) + two_of(nn.Linear(3, 1, bias=False).double()), (X, Y), r"got \[4, 3\] parameters"),
        (two_of(LINEAR), (X, (Y + 1) / 2), r"\+1 and -1, got 0, 1\."),
        (two_of(nn.Linear(3, 2).double()), (X, Y), "the numbers 0 to 1, got -1, 1"),
        (two_of(nn.Unflatten(1, (3, 1))), (X, Y), "require a gradient"),
        (two_of(nn.Sequential(LINEAR, nn.Unflatten(1, (1, 1)))), (X, Y), r"got the shape \(2, 1, 1\) for 2 patterns"),
        ([(Linear([1.0, 0, 0]), Linear([1.0, 0, 0], np.inf))], (X, Y), "its training has diverged"),
        (two_of(nn.GRU(3, 2)), (X, Y), "a net returns a tensor, got a tuple"),
        (iter([LINEAR, LINEAR]), (X, Y), r"pairs \(net at the start, trained net\), got a Linear in their place"),
        (nn.Sequential(LINEAR, LINEAR), (X, Y), "got a Linear in their place"),
        ([(Linear([1.0, 0, 0], 0.0), Linear([1.0, 0, 0], 1.0))], (X, Y), "must be finite, got inf: at the start no"),
        ([(Linear([0.0, 0, 0], 0.0), Linear([0.0, 0, 0], 1.0))], (X, Y), "must be finite, got nan: at the start no"),
        (two_of(LINEAR), (np.array(1.0), Y), r"got the shapes \(\) and \(400,\)"),
        (two_of(LINEAR), (X, Y > 0), r"\+1 and -1, got 0, 1\."),
        (two_of(LINEAR), (X, Y[1:]), r"got the shapes \(400, 3\) and \(399,\)"),
        (two_of(BATCH_NORM), (X, Y), "the BatchNorm '1' has seen no data at the start"),
        (two_of(nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 1)).double()), (X, Y),
         "depend on the rest of the batch"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_gets_a_sentence(nets, train, sentence):
    with pytest.raises(ValueError, match=sentence):
        diagnose(nets, train, (X, Y))


def test_arrays_and_lists_are_as_good_as_tensors():
    net = two_of(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)))
    one = diagnose(net, (X.float(), Y), (X.float(), Y.long()))
    assert str(one) == str(diagnose(net, (X.numpy(), Y.numpy().astype(int)), (X.tolist(), Y.tolist())))


def test_the_kernel_has_patterns():
    with pytest.raises(ValueError, match="at least one pattern, got P_kernel = 0"):
        diagnose(two_of(LINEAR), (X, Y), (X, Y), P_kernel=0)


def test_a_batch_norm_that_has_seen_data_is_looked_at():
    net = copy.deepcopy(BATCH_NORM)
    net(X)
    assert diagnose(two_of(net), (X, Y), (X, Y)).kernel_change > 0
