"""The tests are tested: each of the mistakes that a code like this is prone to must break one.

The library is copied, one line of the copy is changed, and a few tests run on it. They must pass on the copy as it is,
and fail (not crash while they are collected) on each of the changed ones.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lazyjam

SOURCE = Path(lazyjam.__file__).parent
TESTS = Path(__file__).parent

MUTATIONS = {
    "the sign of l'": (
        "problem.py", "tangent.vjp(slope * ", "tangent.vjp(-slope * ",
        "test_problem.py::test_velocity_is_minus_the_gradient_over_alpha_squared",
    ),
    "1/h for 1/sqrt(h) in a hidden layer": (
        "networks.py", "gain * (second_moment(activation) * h) ** -0.5", "gain * second_moment(activation) ** -0.5 / h",
        "test_networks.py::test_output_is_that_of_the_equations",
    ),
    "f_tilde_0 not subtracted in the flow": (
        "problem.py", "(tangent.f - self.f_tilde_0)", "(tangent.f - 0 * self.f_tilde_0)",
        "test_problem.py::test_velocity_is_minus_the_gradient_over_alpha_squared",
    ),
    "f_tilde_0 not subtracted in the predictor": (
        "setups.py", " - self.network.apply(self.w0, part) for", " for",
        "test_observables.py::test_the_predictor_is_what_training_gained",
    ),
    "1/alpha for 1/alpha^2": (
        "problem.py", "self.y / (self.alpha[:, None] * self.P)", "self.y / self.P",
        "test_flow.py::test_ntk_and_mean_field_normalisation_are_one_flow[euler]",
    ),
    "the mean over the patterns that are felt": (
        "problem.py", "return self.among or len(self.y)", "return len(self.y)",
        "test_felt.py::test_the_velocity_is_that_of_all_patterns[1-soft_hinge-1e-09]",
    ),
    "the sign of Hp": (
        "hessian.py", "tangent.hessian(run, -alpha * y", "tangent.hessian(run, alpha * y",
        "test_hessian.py::test_hessian_is_the_second_derivative_of_the_energy[2-tanh]",
    ),
    "a descent without the bending of the network": (
        "minima.py", "matrix = stiff + self._bent", "matrix = stiff + 0 * self._bent",
        "test_minima.py::test_a_certified_minimum_is_one",
    ),
    "seed_data tied to seed": (
        "training.py", "setup.d, setup.seed_data,", "setup.d, setup.seed + setup.seed_data,",
        "test_experiment.py::test_seed_data_is_not_tied_to_seed",
    ),
    "the runs of a batch mixed up where some switch": (
        "steppers.py", "some.at(point.w[rows]), dt[rows]", "some.at(point.w[rows]), dt[: len(rows)]",
        "test_steppers.py::test_where_some_runs_have_switched_every_run_steps_as_it_does_alone[6]",
    ),
    "one step size for a batch": (
        "flow.py", "step_dt = now.dt[live].minimum(", "step_dt = now.dt[live].min().minimum(",
        "test_flow.py::test_a_run_does_not_feel_its_batch[implicit-10]",
    ),
}


@pytest.fixture
def copy(tmp_path) -> Path:
    target = tmp_path / "src" / "lazyjam"
    shutil.copytree(SOURCE, target, ignore=shutil.ignore_patterns("__pycache__"))
    (target / "__init__.py").write_text("")  # what is tested here needs no drawing
    return target


def run(copy: Path, *selection: str) -> subprocess.CompletedProcess:
    """pytest on the copy, without plugins: exit code 0 is passed, 1 failed, anything else no test at all."""
    environment = {**os.environ, "PYTHONPATH": str(copy.parent), "OMP_NUM_THREADS": "1", "PYTEST_ADDOPTS": "",
                   "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-c", os.devnull, "--rootdir", str(copy.parent.parent),
               "-p", "no:cacheprovider", "--tb=short", "-W", "ignore", *(str(TESTS / test) for test in selection)]
    return subprocess.run(command, env=environment, cwd=copy.parent.parent, capture_output=True, text=True, timeout=300)


def test_the_copy_as_it_is_passes(copy):
    result = run(copy, *sorted({test for *_, test in MUTATIONS.values()}))
    assert result.returncode == 0 and re.search(r"\d+ passed", result.stdout), result.stdout


@pytest.mark.parametrize("mistake", MUTATIONS)
def test_a_mistake_breaks_a_test(copy, mistake):
    file, right, wrong, test = MUTATIONS[mistake]
    text = (copy / file).read_text()
    assert text.count(right) == 1, f"{file} has changed: say anew what {mistake!r} would look like"
    (copy / file).write_text(text.replace(right, wrong))
    result = run(copy, test)
    assert result.returncode == 1 and re.search(r"\d+ failed", result.stdout), result.stdout
    assert re.search(r"^E +(AssertionError|assert )", result.stdout, re.MULTILINE), "a wrong number, not a crash"
