"""The command line: what is listed, what is refused before a kernel starts, and what a run leaves behind."""

import json
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from typer.testing import CliRunner

from lazyjam import Cache, N_delta, Setup, sweep
from lazyjam.claims import MIME, claims
from lazyjam.cli import app
from lazyjam.rehearsal import cpu_seconds

PARAMETERS = '''\
dataset: str = "digits"  # where the images come from
h: list[int] = [4, 16]  # widths
wide_h: list[int] = [24]  # one more
alpha_tilde: float = 1.0  # output scale, not "#"
P: int = 40  # training images
seeds: int = 2  # initial weights per cell
fast: bool = True
cache: str = "../data_cache"  # folder of results
figures: str = "../figures"  # where the numbers are written
'''
SWEEP = '''\
from pathlib import Path
from lazyjam import Cache, N_delta, Setup, sweep, test_error
setup = Setup(dataset=dataset, P=P, P_test=100, P_kernel=0, d=5, L=1, alpha_tilde=alpha_tilde, t_max=1e4)
table = sweep(setup, [N_delta, test_error], Cache(cache), h=h, seed=range(seeds))
'''
AFTER = '''\
t_max = 1e3 * float(table.N_delta.max() + 1)
wide = sweep(setup, [N_delta], Cache(cache), h=wide_h, seed=range(seeds), t_max=[t_max])
Path(figures).mkdir()
Path(figures, "numbers.csv").write_text(str(float(table.test_error.mean())))
'''


def write(path, *sources, title="# Figure 0: a tiny one"):
    cells = [new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    words = new_markdown_cell(f"{title}\n\nSome words. ![](../figures/one.svg)")
    nbformat.write(new_notebook(cells=[words, *cells]), path)


def a_book(folder, *cells):
    """A project whose book has one chapter."""
    (folder / "book").mkdir()
    (folder / "data_cache").mkdir()
    (folder / "book/_toc.yml").write_text("root: tiny\n")
    write(folder / "book/tiny.ipynb", *cells)
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A book of one chapter, with the folder above it as the current one."""
    monkeypatch.chdir(tmp_path)
    return a_book(tmp_path, PARAMETERS, SWEEP, AFTER)


def lazyjam(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def keep(project, **axes):
    """Compute what the first sweep of the chapter reads."""
    setup = Setup(P=40, P_test=100, P_kernel=0, d=5, L=1, t_max=1e4)
    from lazyjam import test_error as error

    return sweep(setup, [N_delta, error], Cache(project / "data_cache"), progress=False, **axes)


def test_chapters_come_in_the_order_of_the_book(project):
    for name in ("another", "last"):
        shutil.copy(project / "book/tiny.ipynb", project / f"book/{name}.ipynb")
    (project / "book/_toc.yml").write_text("root: intro\nparts:\n- chapters:\n  - file: tiny\n  - file: another\n")
    assert [one["name"] for one in json.loads(lazyjam("chapters", "--json").stdout)] == ["tiny", "another", "last"]


def test_what_was_made_on_a_gpu_is_said_and_tells_nothing_of_a_core(project):
    keep(project, h=[4, 5], seed=[0])
    cache = Cache(project / "data_cache")
    key = next(key for key in cache.keys() if cache.get(key).meta["fields"]["h"] == 5)
    made = cache.get(key)
    made.meta["how"]["device"], made.meta["cost"]["cpu_seconds"] = "cuda", 1e6
    cache.put(key, made)
    others = [Setup(P=40, P_test=100, P_kernel=0, d=5, L=1, t_max=1e4, h=h) for h in (5, 6)]
    assert cpu_seconds(others, [cache])[0] < 1e3
    lazyjam("cache", "pack", "tiny_1")
    says = lazyjam("chapters").stdout
    assert "2 kept results, which took 16666.7 minutes of a core and, for 1 of them, a GPU" in says
    (chapter,) = json.loads(lazyjam("chapters", "--json").stdout)
    assert (chapter["records"], chapter["on_gpu"]) == (2, 1)
    assert chapter["cpu_seconds"] == round(chapter["cpu_seconds"], 1) > 1e6


def test_chapters(project):
    keep(project, h=[4], seed=[0])
    lazyjam("cache", "pack", "tiny_1")
    (chapter,) = json.loads(lazyjam("chapters", "--json").stdout)
    assert (chapter["name"], chapter["title"], chapter["records"]) == ("tiny", "Figure 0: a tiny one", 1)
    assert chapter["cpu_seconds"] >= 0
    parameters = {one["name"]: one for one in chapter["parameters"]}
    assert parameters["h"] == {"name": "h", "type": "list[int]", "default": [4, 16], "help": "widths"}
    assert parameters["alpha_tilde"]["help"] == 'output scale, not "#"' and parameters["fast"]["help"] == ""
    lines = lazyjam("chapters").stdout.splitlines()
    assert lines[0] == "tiny: Figure 0: a tiny one" and max(map(len, lines)) <= 100
    assert any(line.split()[:3] == ["P", "int", "40"] for line in lines)


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["tini"], "unknown chapter 'tini': did you mean 'tiny'?"),
        (["tiny", "-p", "alpha_tild", "1"], "tiny has no parameter 'alpha_tild': did you mean 'alpha_tilde'?"),
        (["tiny", "-p", "P", "many"], "P must be of type int, got 'many'."),
        (["tiny", "-p", "P", "3.5"], "P must be of type int, got '3.5'."),
        (["tiny", "-p", "h", "4,x"], "h must be of type list[int], as in 4,8,16, got '4,x'."),
        (["tiny", "-p", "h", "[]"], "h must have at least one value, got []."),
        (["tiny", "-p", "fast", "1"], "fast must be of type bool, true or false, got '1'."),
        (["tiny", "-p", "alpha_tilde", "nan"], "alpha_tilde must be of type float, got 'nan'."),
        (["tiny", "-p", "alpha_tilde", "-1"], "alpha_tilde must be positive, got -1.0."),
        (["tiny", "-p", "h", "4,0"], "h must be positive, got 0."),
        (["tiny", "-p", "wide_h", "-3"], "wide_h: h must be positive, got -3."),
        (["tiny", "-p", "seeds", "0"], "seeds must be positive, got 0."),
        (["tiny", "-p", "h", "16,4"], "h must be ascending, without repeats, got [16, 4]."),
        (["tiny", "-p", "h", "4,4"], "h must be ascending, without repeats, got [4, 4]."),
        (["tiny", "-p", "dataset", "digit"], "Unknown data set 'digit': did you mean 'digits'?"),
        (["tiny", "-p", "P", "60000"], "P + P_test + P_kernel must be at most that, got 60000"),
        (["tiny", "-p", "P"], "-p takes two words, NAME VALUE, as in -p P 500."),
        (["tiny", "-o", "no/such/place.ipynb"], "-o must be a notebook in a folder that exists"),
        (["tiny", "-o", "out.txt"], "-o must be a notebook in a folder that exists"),
        (["tiny", "-o", "book/tiny.ipynb"], "book/tiny.ipynb is a chapter of the book: choose another -o."),
        (["tiny", "-f", "no.yml"], "there is no file 'no.yml': correct -f."),
    ],
)
def test_what_is_wrong_is_refused_with_a_sentence(project, words, sentence):
    result = lazyjam("run", *words, code=2)
    assert sentence in result.stderr and len(result.stderr.splitlines()) == 1 and not result.stdout
    assert not list(project.glob("*.ipynb"))


@pytest.mark.parametrize(
    "content, sentence",
    [
        ("h: [4, 0]", "h must be positive, got 0."),
        ("tiny: {h: 0}", "h must be positive, got 0."),
        ("tinny: {h: 4}", "names an unknown chapter 'tinny': did you mean 'tiny'?"),
        ("- 4", "must hold `parameter: value` or"),
        ("h: [4", "is no YAML"),
        ("", "must hold `parameter: value` or"),
    ],
)
def test_a_wrong_file_is_refused_with_a_sentence(project, content, sentence):
    (project / "values.yml").write_text(content)
    assert sentence in lazyjam("run", "tiny", "-f", "values.yml", code=2).stderr


def test_outside_a_project(project, monkeypatch):
    monkeypatch.setattr("lazyjam.chapters.__file__", str(project.parent / "chapters.py"))
    monkeypatch.chdir(project.parent)
    assert "there is no book/_toc.yml at or above" in lazyjam("chapters", code=2).stderr


def test_a_dry_run_counts_and_writes_nothing(project):
    before = sorted(project.rglob("*"))
    said = lazyjam("run", "tiny", "--dry-run", "-p", "h", "4, 8,16").stdout
    assert "6 runs are missing in the first sweep" in said and "About 2 more" in said and "No estimate" in said
    assert sorted(project.rglob("*")) == before

    table = keep(project, h=[4, 16], seed=range(2))
    before = sorted(project.rglob("*"))
    said = lazyjam("run", "tiny", "--dry-run").stdout
    assert "2 runs are missing" in said and "more" not in said and "minutes of one core" in said
    said = lazyjam("run", "tiny", "--dry-run", "-p", "h", "8,16").stdout
    assert "2 runs are missing" in said and "About 2 more" in said
    keep(project, h=[24], seed=range(2), t_max=[1e3 * float(table.N_delta.max() + 1)])
    assert "0 runs are missing" in lazyjam("run", "tiny", "--dry-run").stdout
    assert not (project / "figures").exists()


def test_a_dry_run_trains_no_nets_to_be_diagnosed(project):
    ask = "from lazyjam import Cache\nfrom lazyjam.keeping import kept\n"
    ask += "found = [kept(Cache(cache), lambda: None, h=one) for one in h]\nprint(found[0].regime, found[0])"
    write(project / "book/tiny.ipynb", PARAMETERS, ask)
    assert lazyjam("run", "tiny", "--dry-run").stdout.startswith("2 diagnoses are missing")
    keep(project, h=[4], seed=[0])
    assert "tiny lacks 2 runs" in lazyjam("cache", "pack", "more", "--chapter", "tiny", code=2).stderr


def test_a_dry_run_names_a_cell_that_fails_by_itself(project):
    write(project / "book/tiny.ipynb", PARAMETERS, "1 / 0")
    assert "code cell 2 raises ZeroDivisionError" in lazyjam("run", "tiny", "--dry-run", code=1).stderr


def test_a_run_with_other_parameters_leaves_the_figures_alone(project):
    keep(project, h=[4], seed=range(2))
    (project / "values.yml").write_text("tiny: {h: [4], wide_h: [8], seeds: 1, alpha_tilde: 2.0}\n")
    # 1e0 is the default again, and the command line wins over the file
    said = lazyjam("run", "tiny", "-f", "values.yml", "-p", "alpha_tilde", "1e0", "-o", "mine.ipynb").stdout
    assert said == f"mine.ipynb is written, its figures are in {project / 'mine_figures'}\n"
    assert 0 < float((project / "mine_figures/numbers.csv").read_text()) < 1 and not (project / "figures").exists()
    cells = nbformat.read("mine.ipynb", 4).cells
    assert cells[0].source.startswith("> Executed with `h = [4]`, ") and "the parameters of the book" in cells[0].source
    assert "(mine_figures/one.svg)" in cells[1].source  # relative to the copy, where the figures of this run are
    (injected,) = (cell.source for cell in cells if "injected-parameters" in cell.metadata.get("tags", []))
    assert "h = [4]" in injected and "alpha_tilde" not in injected
    assert len(Cache(project / "data_cache").keys()) == 3  # relative to book/, as in the chapter itself


def test_a_chapter_that_fails_says_where_and_keeps_what_was_done(project):
    write(project / "book/tiny.ipynb", "x: int = 1  # a number", "print('first', x)", "raise ValueError('too\\nbad')")
    result = lazyjam("run", "tiny", code=1)
    _, first, second = result.stderr.splitlines()
    assert first == "tiny failed in cell [3]: ValueError: too bad" and "tiny.out.ipynb" in second
    assert "first 1" in str(nbformat.read("tiny.out.ipynb", 4).cells)
    assert [one["name"] for one in json.loads(lazyjam("chapters", "--json").stdout)] == ["tiny"]


def test_ctrl_c_is_one_sentence(project):
    wait = "open('../started', 'w')\nimport time\ntime.sleep(100)"
    write(project / "book/tiny.ipynb", "x: int = 1  # a number", wait)
    process = subprocess.Popen(
        [sys.executable, "-c", "from lazyjam.cli import app; app()", "run", "tiny"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # a test run in the background of a script inherits that Ctrl-C is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (project / "started").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("Stopped. The runs that were finished are kept") and "Traceback" not in said


def test_version_and_one_chapter(project):
    assert lazyjam("--version").stdout == f"lazyjam {version('lazyjam')}\n"
    long = list(range(20))
    write(project / "book/tiny.ipynb", f"h: list[int] = {long}  # widths", "print(h)")
    assert str(long) not in lazyjam("chapters").stdout
    assert str(long) in lazyjam("chapters", "tiny").stdout
    assert "unknown chapter 'tinny'" in lazyjam("chapters", "tinny", code=2).stderr


def test_claims(project):
    known = list(claims())
    assert json.loads(lazyjam("claims", "--json").stdout)[0]["verdict"] == "not run"
    record = {"id": known[1], "expected": "0", "measured": 0.25, "error": None}
    record |= {"verdict": "out of reach", "reason": "why", "rule": claims()[known[1]].rule}
    old = {**record, "id": known[2], "rule": "of another time"}
    shown = [new_output("display_data", {"text/plain": "", MIME: one}) for one in (record, old)]
    cell = new_code_cell("check()", outputs=shown)
    nbformat.write(new_notebook(cells=[cell]), project / "book/tiny.ipynb")
    rows = {row["id"]: row for row in json.loads(lazyjam("claims", "--json").stdout)}
    assert list(rows) == known
    assert set(rows[known[1]]) == {"id", "chapter", "statement", "expected", "measured", "error", "verdict", "reason"}
    assert (rows[known[1]]["measured"], rows[known[1]]["verdict"]) == (0.25, "out of reach")
    lines = lazyjam("claims").stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[-1] == f"0 reproduced, 0 not reproduced, 1 out of reach, {len(known) - 1} not run"
    chosen = json.loads(lazyjam("claims", "--verdict", "out of reach", "--json").stdout)
    assert [row["id"] for row in chosen] == [known[1]]
    said = lazyjam("claims", "--verdict", "out of reech", code=2).stderr
    assert "unknown verdict 'out of reech'" in said and "'out of reach'" in said


def test_claims_of_one_chapter(project):
    shutil.copy(project / "book/tiny.ipynb", project / "book/jamming.ipynb")
    rows = json.loads(lazyjam("claims", "--chapter", "jamming", "--json").stdout)
    assert rows and {row["chapter"] for row in rows} == {"jamming"}
    assert lazyjam("claims", "--chapter", "tiny").stdout.splitlines()[-1].startswith("0 reproduced")
    assert "unknown chapter 'jaming'" in lazyjam("claims", "--chapter", "jaming", code=2).stderr


def test_cache_commands(project, tmp_path):
    keep(project, h=[4, 16], seed=range(2))
    cache = Cache(project / "data_cache")
    assert lazyjam("cache", "verify").stdout.splitlines()[-1] == "4 records, 0 damaged"
    lazyjam("cache", "pack", "tiny")
    assert "test_margin" not in cache_of(project, tmp_path / "other").get(cache.keys()[0]).columns
    keep(project, h=[8], seed=[0])
    assert "holds 5 records, 1 of them new" in lazyjam("cache", "pack", "tiny").stdout  # and none is lost
    assert "there is nothing to pack in 'next'" in lazyjam("cache", "pack", "next", code=2).stderr
    assert "there is nothing to pack" in lazyjam("cache", "pack", "tiny", "--dataset", "mnist", code=2).stderr
    rows = {row["name"]: row["records"] for row in json.loads(lazyjam("cache", "ls", "--json").stdout)}
    assert rows == {"tiny.zip": 5, "loose": 5}

    (tmp_path / "new").mkdir()
    assert lazyjam("cache", "merge", "data_cache", "--folder", "new").stdout.startswith("5 records")
    victim = next((project / "data_cache/loose").rglob("*.npz"))
    victim.write_bytes(victim.read_bytes()[:-1])
    said = lazyjam("cache", "verify", code=1).stdout.splitlines()
    assert victim.name in said[0] and said[-1] == "5 records, 1 damaged"
    assert "there is no cache folder 'nowhere'" in lazyjam("cache", "verify", "--folder", "nowhere", code=2).stderr
    assert "there is no cache folder" in lazyjam("cache", "merge", "nowhere", code=2).stderr


def cache_of(project, folder):
    """A cache of the packs alone."""
    folder.mkdir()
    for pack in (project / "data_cache").glob("*.zip"):
        (folder / pack.name).write_bytes(pack.read_bytes())
    return Cache(folder)


def test_packing_what_a_chapter_reads(project):
    write(project / "book/tiny.ipynb", PARAMETERS, SWEEP)
    table = keep(project, h=[4, 8, 16], seed=range(2))
    assert np.isfinite(table.test_error).all()
    assert "holds 4 records, 4 of them new" in lazyjam("cache", "pack", "tiny", "--chapter", "tiny").stdout
    write(project / "book/tiny.ipynb", PARAMETERS.replace("= [4, 16]", "= [4, 64]"), SWEEP)
    assert "tiny lacks 2 runs" in lazyjam("cache", "pack", "more", "--chapter", "tiny", code=2).stderr


def test_audit_command(project):
    keep(project, h=[4, 16], seed=[0])
    said = lazyjam("cache", "audit", "-n", "1", "--seed", "3").stdout.splitlines()
    assert said[0] == "a sample of 1, drawn by --seed 3" and said[-1] == "agrees: 1"
    answer = json.loads(lazyjam("cache", "audit", "-n", "2", "--seed", "3", "--json").stdout)
    assert answer["seed"] == 3 and [run["verdict"] for run in answer["runs"]] == ["agrees", "agrees"]


def test_an_audit_of_nothing_is_no_success(project):
    assert "there is no run to compare" in lazyjam("cache", "audit", code=1).stdout
