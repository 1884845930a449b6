"""How far the default tolerance is from converged: single predictors, and the means that the chapters use.

    python benchmarks/accuracy.py                 # MNIST, about a minute of one core
    python benchmarks/accuracy.py --data digits   # needs no download

The same nets are trained at the default tolerance, at a tenth of it, and from weights that were changed a little.
"""

import argparse

import torch

from lazyjam import Setup, kernel_change, test_error, train
from lazyjam.steppers import METHODS
from lazyjam.training import default_method
from lazyjam.types import Params

NOISE = 1e-4  # relative change of the initial weights


def disturb(w: Params) -> Params:
    generator = torch.Generator().manual_seed(0)
    return {name: x * (1 + NOISE * torch.randn(x.shape, generator=generator, dtype=x.dtype)) for name, x in w.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="mnist", help="data set")
    data = parser.parse_args().data
    P, P_test = (500, 1000) if data == "digits" else (1000, 10_000)
    torch.set_num_threads(1)
    print(f"{data}, P = {P}, h = 64, four nets; differences between tol and tol / 10")
    print(f"last column: change of the predictor, rms, for one of the weights by {NOISE:g}")
    print("alpha_tilde   predictor, rms, %   mean test error, points   of ensemble   kernel change, %   disturbed, %")
    for alpha_tilde in (0.3, 2.0, 10.0, 100.0):
        one = Setup(dataset=data, P=P, P_test=P_test, P_kernel=P // 5, h=64, alpha_tilde=alpha_tilde)
        runs, tol = [one.replace(seed=seed) for seed in range(4)], METHODS[default_method(one)].tol
        with torch.no_grad():
            loose, tight = (train(runs, tol=each) for each in (tol, tol / 10))
            size = tight.f_test.square().mean(1).sqrt()
            off = 100 * (loose.f_test - tight.f_test).square().mean(1).sqrt() / size
            moved = 100 * (train(runs, tol=tol, init=disturb).f_test - loose.f_test).square().mean(1).sqrt() / size
            single = 100 * (test_error(loose) - test_error(tight)).mean().item()
            y = loose.data.test.y
            many = [(y * each.f_test.mean(0) <= 0).double().mean().item() for each in (loose, tight)]
            kernel = 100 * ((kernel_change(loose) / kernel_change(tight)).mean().item() - 1)
        print(
            f"{alpha_tilde:>11g}{f'{off.min():.1f} to {off.max():.1f}':>20}{single:>26.3f}"
            f"{100 * (many[0] - many[1]):>14.3f}{kernel:>19.2f}"
            f"{f'{moved.min():.2f} to {moved.max():.2f}':>15}",
            flush=True,
        )


if __name__ == "__main__":
    main()
