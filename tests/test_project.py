"""The project as a whole: the environment is one, imports point down, and two modules alone touch what they touch."""

import ast
import csv
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LAYERS = [
    {"types", "records", "spelling", "workers", "activations"},
    {"cache"},
    {"archives", "chebyshev", "preprocessing", "tangents", "layered", "losses"},
    {"sources", "networks"},
    {"data", "problem"},
    {"felt", "solver"},
    {"steppers"},
    {"flow", "hessian"},
    {"minima", "kernels"},
    {"modules"},
    {"dynamics"},
    {"setups"},
    {"observables", "precision"},
    {"training"},
    {"linearity", "kernel_pca", "infinite_width", "diffeo"},
    {"stripe", "watched", "landscape"},
    {"machines"},
    {"representation"},
    {"experiment"},
    {"packings", "perceptron", "gaussian_fields", "neighbours", "architecture", "fits", "claims", "audit"}
    | {"random_features"},
    {"ensembles", "compression", "diagnosis"},
    {"jamming"},
    {"crossover", "keeping"},
    {"plots", "chapters", "terminal"},
    {"scorecard"},
    {"plots_packings", "plots_jamming", "plots_ensembles", "plots_lazy", "plots_stripe", "plots_width", "plots_images"}
    | {"plots_scorecard", "plots_diagnose", "plots_paradoxes"},
    {"interactive"},
    {"parameters", "rehearsal"},
    {"filling"},
    {"cli_cache"},
    {"cli"},
    {"__init__"},
]
LAYER = {module: level for level, modules in enumerate(LAYERS) for module in modules}
MODULES = {path.stem: ast.parse(path.read_text()) for path in sorted((ROOT / "src/lazyjam").glob("*.py"))}


def imports(tree: ast.Module) -> set[str]:
    """Dotted names of what a module imports, wherever in it; those of the package itself begin with `lazyjam.`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, ["lazyjam" if node.level else "", node.module]))
            names |= {f"{base}.{alias.name}" if base == "lazyjam" else base for alias in node.names}
    return names


def users(package: str) -> set[str]:
    return {module for module, tree in MODULES.items() if package in {name.split(".")[0] for name in imports(tree)}}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    assert module in LAYER, f"{module}.py has no layer: give it one in tests/test_project.py"
    own = {name.split(".")[1] for name in imports(MODULES[module]) if name.startswith("lazyjam.")}
    below = {other for other in LAYER if LAYER[other] < LAYER[module]}
    assert own <= below


def test_only_plots_draws():
    assert users("matplotlib") | users("seaborn") <= {name for name in MODULES if name.split("_")[0] == "plots"}


def test_only_interactive_knows_plotly():
    assert users("plotly") <= {"interactive"}


def test_only_cli_knows_papermill():
    assert users("papermill") <= {"cli"}


def test_only_sources_reads_the_environment():
    names = re.compile(r"\b(environ|getenv|environb)\b")
    assert {module for module, tree in MODULES.items() if names.search(ast.unparse(tree))} <= {"sources"}


def test_init_only_exports():
    body = MODULES["__init__"].body if "__init__" in MODULES else []
    for node in (node for node in body if not isinstance(getattr(node, "value", None), ast.Constant)):
        assert isinstance(node, ast.ImportFrom) and node.level == 1, ast.unparse(node)
        assert all(alias.asname == alias.name for alias in node.names), ast.unparse(node)


def pins() -> dict[str, Version]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    pairs = [line.split("==") for line in lines]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def test_every_dependency_is_pinned_within_its_bounds():
    extras = [requirement for group in PROJECT["optional-dependencies"].values() for requirement in group]
    for requirement in map(Requirement, PROJECT["dependencies"] + extras):
        if requirement.name != PROJECT["name"]:
            assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)]), str(requirement)


def test_conda_environment_is_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, lines = environment["dependencies"]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python.removeprefix("python="))
    assert pip == "pip"
    index = "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert lines == {"pip": [index, "-c constraints.txt", "-e .[all]"]}


def test_makefile_installs_the_pinned_torch():
    assert f"torch=={pins()['torch']}" in (ROOT / "Makefile").read_text()


def test_citation_has_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    released = f"\n# {PROJECT['version']}" in "\n" + (ROOT / "CHANGELOG.md").read_text()
    assert ("date-released" in citation) == released, "a released version has a heading in CHANGELOG.md and a date"


def test_the_table_of_costs_is_that_of_the_whole_benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import flow

    problems = list(flow.problems(flow.FULL))
    named = {(setup.loss.replace("_", " "), str(setup.h), f"{setup.alpha_tilde:g}") for setup in problems}
    with open(ROOT / "figures/benchmark_flow.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(problems)
    assert {(row["loss"], row["h"], row["alpha_tilde"]) for row in rows} == named


def test_the_page_of_the_library_names_all_that_is_exported_and_every_module():
    named = set(re.findall(r"lazyjam\.([\w.]+)$", (ROOT / "book/api.md").read_text(), re.MULTILINE))
    exported = {alias.name for node in MODULES["__init__"].body for alias in getattr(node, "names", ())}
    assert exported | set(MODULES) - {"__init__"} <= named


def test_the_table_of_the_readme_is_that_of_the_registry_and_the_cache(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "book/_ext")
    import overview

    readme = (ROOT / "README.md").read_text()
    assert readme == overview.renewed(readme), "python book/_ext/overview.py writes it anew"
    assert "| ? |" not in readme, "say in README.md what the chapter measures"


def test_the_references_can_be_read_and_hold_what_is_cited():
    from pybtex.database import parse_file

    known = set(parse_file(ROOT / "book/references.bib").entries)
    text = "".join(page.read_text() for kind in ("md", "ipynb") for page in (ROOT / "book").glob(f"*.{kind}"))
    cited = {key.strip() for keys in re.findall(r"{cite(?::\w+)?}`([^`]+)`", text) for key in keys.split(",")}
    assert cited and cited <= known
