"""`lazyjam sweep`: a chapter's runs without its notebook, in time, in shares, and on workers of dask that may die."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from test_cli import a_book, lazyjam, write

from lazyjam import Cache, N_delta, Setup, filling, sweep, training
from lazyjam.cache import Record
from lazyjam.chapters import chapter
from lazyjam.experiment import missing
from lazyjam.filling import ChapterError, fill
from lazyjam.observables import observable

ROOT = Path(__file__).parent.parent
PARAMETERS = '''\
h: list[int] = [4, 8, 16]  # widths
alpha_tilde: list[float] = [1.0, 10.0]  # output scales
seeds: int = 4  # initial weights per cell
cache: str = "../data_cache"  # folder of results
figures: str = "../figures"  # where the numbers are written
'''
SWEEP = '''\
from lazyjam import Cache, N_delta, Setup, ensemble, plane, sweep
setup = Setup(P=20, P_test=50, P_kernel=0, d=5, L=1)
axes = plane(setup, Cache(cache), h=h, alpha_tilde=alpha_tilde)
table = sweep(setup, [N_delta], Cache(cache), seed=range(seeds), **axes)
many = ensemble(setup, Cache(cache), seed=range(seeds), **axes)
'''
AFTER = '''\
from pathlib import Path
Path(figures).mkdir()
Path(figures, "numbers.csv").write_text(str(float(many.error.mean())))
'''
PACKINGS = '''\
from lazyjam import Cache
from lazyjam.compression import compress
packings = compress(10, aspect=[1.0], excess=[0.0], seed=range(seeds), cache=Cache(cache))
'''
DIAGNOSES = '''\
import numpy as np
from lazyjam import Cache
from lazyjam.diagnosis import Diagnosis
from lazyjam.keeping import kept
zeros = {name: np.zeros(2) for name in ("kernel_change", "N_delta", "test_error", "gain", "fluctuation")}
found = [kept(Cache(cache), lambda: Diagnosis(N=seeds, P=9, margin=1.0, ensemble_error=0.0, **zeros), h=one)
         for one in h]
'''
WIDEST, ALL = 2 * 3, 2 * 3 * 4  # runs that tell the times to fit; all runs


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return a_book(tmp_path, PARAMETERS, SWEEP, AFTER)


def runs(folder) -> set[str]:
    cache = Cache(folder)
    return {key for key in cache.keys() if "ensemble" not in cache.get(key).meta}


def test_all_runs_of_a_chapter(project):
    said = lazyjam("sweep", "tiny").stdout
    assert said == f"{ALL} runs computed, 0 left for want of time, 0 left to other machines\n"
    assert len(runs("data_cache")) == ALL and not (project / "figures").exists()
    assert "0 runs are missing" in lazyjam("run", "tiny", "--dry-run").stdout
    assert lazyjam("sweep", "tiny").stdout.startswith("0 runs computed, 0 left")


def test_in_single_precision(project):
    lazyjam("sweep", "tiny", "-p", "h", "[8]", "--precision", "single")
    kept = {key: Cache("data_cache").get(key) for key in Cache("data_cache").keys()}
    assert {record.meta["how"]["precision"] for record in kept.values() if "how" in record.meta} == {"single"}
    shutil.rmtree("data_cache/loose")  # a run that came to its end would win
    for key, record in kept.items():
        capped = {"capped": np.array(True)} if "how" in record.meta else {}
        Cache("data_cache").put(key, Record(record.meta, record.columns | capped))
    again = lazyjam("sweep", "tiny", "-p", "h", "[8]", "--precision", "single").stdout
    assert again.startswith("0 runs computed, 0 left")
    assert not lazyjam("sweep", "tiny", "-p", "h", "[8]").stdout.startswith("0 runs"), "what was broken off, in double"


def test_no_batch_begins_after_the_budget(project, monkeypatch):
    """A minute passes with every batch: three begin in three and a half, and the next call does the rest."""
    monkeypatch.setitem(training.BATCH_ELEMENTS, "cpu", 1)  # one run a batch
    minutes = iter(range(1000))
    monkeypatch.setattr(filling, "time", SimpleNamespace(time=lambda: 60.0 * next(minutes)))
    filled = fill(chapter(project, "tiny"), {}, minutes=3.5)
    assert len(filled.computed) == 3 == len(runs("data_cache")) and len(filled.left) == ALL - 3
    monkeypatch.undo()
    monkeypatch.chdir(project)
    assert len(fill(chapter(project, "tiny"), {}).computed) == ALL - 3


def test_a_budget_leaves_the_rest_and_keeps_no_ensemble_of_runs_that_are_not(project):
    said = lazyjam("sweep", "tiny", "--budget", "0").stdout
    assert said.startswith("0 runs computed, ") and " 0 left for" not in said
    assert Cache("data_cache").keys() == []
    assert lazyjam("sweep", "tiny").stdout.startswith(f"{ALL} runs computed, 0 left")


def test_shards_that_share_nothing_make_the_whole(project):
    lazyjam("sweep", "tiny", "-p", "cache", "../whole")
    for part in (1, 2, 3):
        said = lazyjam("sweep", "tiny", "--shard", f"{part}/3", "-p", "cache", f"../part{part}").stdout
        assert " 0 left for want of time" in said and not said.endswith(" 0 left to other machines\n")
    parts = [runs(f"part{part}") for part in (1, 2, 3)]
    assert set().union(*parts) == runs("whole") and len(set.intersection(*parts)) == WIDEST
    assert sum(map(len, parts)) == ALL + 2 * WIDEST, "what is not needed by all is computed once"
    for part in (2, 3):
        lazyjam("cache", "merge", f"part{part}", "--folder", "part1")
    assert lazyjam("sweep", "tiny", "-p", "cache", "../part1").stdout.startswith("0 runs computed, 0 left")
    assert set(Cache("part1").keys()) == set(Cache("whole").keys()), "the same ensembles, too"


def test_a_cell_that_fails_by_itself_is_told(project):
    write(project / "book/tiny.ipynb", PARAMETERS, SWEEP, "1 / 0")
    result = lazyjam("sweep", "tiny", code=1)
    assert "code cell 3 raises ZeroDivisionError" in result.stderr and len(runs("data_cache")) == ALL


def test_packings_too(project):
    write(project / "book/tiny.ipynb", PARAMETERS, PACKINGS)
    assert lazyjam("run", "tiny", "--dry-run").stdout.startswith("4 packings are missing")
    assert lazyjam("sweep", "tiny", "--budget", "0").stdout.startswith("0 runs computed, 4 left for want of time")
    assert Cache("data_cache").keys() == []
    for part in (1, 2):
        lazyjam("sweep", "tiny", "--shard", f"{part}/2")
    assert len(Cache("data_cache").keys()) == 4 and "0 runs are missing" in lazyjam("run", "tiny", "--dry-run").stdout


def test_diagnoses_too(project):
    write(project / "book/tiny.ipynb", PARAMETERS, DIAGNOSES)
    assert lazyjam("sweep", "tiny", "--budget", "0").stdout.startswith("0 runs computed, 3 left for want of time")
    assert Cache("data_cache").keys() == [], "what is pretended is not kept"
    said = "".join(lazyjam("sweep", "tiny", "--shard", f"{part}/2", "-p", "cache", f"../part{part}").stdout
                   for part in (1, 2))  # fmt: skip
    parts = [{*Cache(f"part{part}").keys()} for part in (1, 2)]
    assert len(parts[0] | parts[1]) == 3 and not parts[0] & parts[1]
    assert f"{len(parts[0])} runs computed, 0 left for want of time, {len(parts[1])} left to other machines" in said
    assert lazyjam("sweep", "tiny").stdout.startswith("3 runs computed, 0 left")
    assert "0 runs are missing" in lazyjam("run", "tiny", "--dry-run").stdout
    assert "3 diagnoses are not audited" in lazyjam("cache", "audit", code=1).stdout


def test_a_diagnosis_that_fails_is_told_whatever_is_left_to_others(project):
    ask = "from lazyjam import Cache\nfrom lazyjam.keeping import kept\n"
    write(project / "book/tiny.ipynb", PARAMETERS, ask + "[kept(Cache(cache), lambda: 1 / 0, n=n) for n in range(12)]")
    result = lazyjam("sweep", "tiny", "--shard", "1/2", code=1)
    assert "ZeroDivisionError" in result.stderr


def test_a_diagnosis_is_computed_here(project):
    write(project / "book/tiny.ipynb", PARAMETERS, DIAGNOSES)
    one = chapter(project, "tiny")
    with ThreadPoolExecutor() as pool, pytest.raises(ChapterError, match="leave out --executor and --device"):
        fill(one, {}, executor=pool)


FAILING = '''\
from lazyjam import Cache, Setup, observable, sweep
@observable()
def broken(trained):
    raise RuntimeError("out of memory")
sweep(Setup(P=20, P_test=50, d=5, L=1, h=16), [broken], Cache(cache), seed=range(12))
'''


def test_a_run_that_fails_is_told_whatever_is_left_to_others(project):
    write(project / "book/tiny.ipynb", PARAMETERS, FAILING)
    result = lazyjam("sweep", "tiny", "--shard", "1/2", code=1)
    assert "code cell 2 raises RuntimeError: out of memory" in result.stderr


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["tini"], "unknown chapter 'tini': did you mean 'tiny'?"),
        (["tiny", "-p", "h", "0"], "h must be positive, got 0."),
        (["tiny", "--shard", "3/2"], "a shard is the number of this machine and of all machines, like 2/3, got '3/2'."),
        (["tiny", "--executor", "daks"], "unknown executor 'daks': did you mean 'dask'?"),
        (["tiny", "--executor", "dask"], "--executor dask needs --scheduler ADDRESS, like tcp://host:8786."),
        (["tiny", "--device", "tpu"], "device must be 'cpu' or 'cuda', got 'tpu'."),
        (["tiny", "--precision", "half"], "unknown precision 'half': choose one of double, single."),
        (["tiny", "--scheduler", "tcp://host:1"], "--scheduler goes with --executor dask."),
        (["tiny", "--executor", "dask", "--scheduler", "tcp://127.0.0.1:1"], "no dask scheduler answers at 'tcp://127"),
        (["tiny", "--executor", "dask", "--scheduler", "tls://127.0.0.1:1"], "no dask scheduler answers at 'tls://127"),
    ],
)
def test_what_is_wrong_is_refused_with_a_sentence(project, words, sentence):
    result = lazyjam("sweep", *words, code=2)
    assert sentence in result.stderr and not result.stdout and Cache("data_cache").keys() == []


@pytest.fixture(scope="module")
def cluster():
    """A scheduler and two worker processes on TCP, as on a cluster."""
    from distributed import LocalCluster

    with LocalCluster(2, processes=True, threads_per_worker=1, dashboard_address=None, protocol="tcp://") as cluster:
        yield cluster


def test_a_killed_worker_loses_the_batch_it_was_at_and_every_result_arrives_once(tmp_path, cluster, monkeypatch):
    """It is killed in the middle of a run. What it had finished is not computed again."""
    from distributed import Client

    monkeypatch.setitem(training.BATCH_ELEMENTS, "cpu", 1)  # one run a batch
    log = str(tmp_path / "log")

    @observable()
    def slow(trained):
        """Tells which worker begins and ends which run, and takes its time."""
        for word in ("begins", "ends"):
            with open(log, "a") as file:
                file.write(f"{os.getpid()} {word} {trained.setups[0].h} {trained.setups[0].seed}\n")
            time.sleep(0.25 if word == "begins" else 0.0)
        return trained.t

    def told(word: str) -> list[tuple[str, ...]]:
        lines = [line.split() for line in open(log)]
        return [(who, *what) for who, said, *what in lines if said == word]

    class Killing(Cache):
        """A cache on the side of the client. When ten results have come, it kills a worker that is at its third or a
        later run."""

        def put(self, key, record):
            came.append(key)
            while len(came) == 10 and not victims:
                time.sleep(0.01)
                ends = told("ends")
                busy = {who for who, *_ in {*told("begins")} - {*ends} if sum(who == one for one, *_ in ends) >= 2}
                if busy:
                    victims.append(busy.pop())
                    os.kill(int(victims[0]), signal.SIGKILL)
            super().put(key, record)

    came: list[str] = []
    victims: list[str] = []
    setup, cache = Setup(P=20, P_test=50, P_kernel=0, d=5, L=1, h=16, alpha_tilde=10.0), Cache(tmp_path / "cache")
    axes = dict(h=[12, 16], seed=range(12))
    with Client(cluster) as client:
        client.wait_for_workers(2)
        table = sweep(setup, [N_delta, slow], Killing(cache.folder), executor=client.get_executor(), progress=False,
                      **axes)
    assert sorted(came) == sorted(set(came)) == sorted(cache.keys()) and len(came) == 24
    begun = told("begins")
    assert len({who for who, *_ in begun} - {*victims}) >= 1, "others did the rest"
    # the run that it was at, and perhaps what it had finished and not delivered yet; with kept futures these are six
    assert 25 <= len(begun) <= 27 and len({tuple(what) for _, *what in begun}) == 24
    here = sweep(setup, [N_delta, slow], None, progress=False, **axes)
    assert (table.slow == here.slow).all() and (table.N_delta == here.N_delta).all()


def test_workers_elsewhere_need_no_disk(project, cluster, tmp_path_factory):
    """A chapter of runs and packings on dask; then an observable more, of runs that are kept."""
    from distributed import Client

    write(project / "book/tiny.ipynb", PARAMETERS, SWEEP, PACKINGS)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with Client(cluster) as client:
        client.run(os.chdir, str(elsewhere))
        said = lazyjam("sweep", "tiny", "--executor", "dask", "--scheduler", cluster.scheduler_address).stdout
        assert said.startswith(f"{ALL + 4} runs computed, 0 left") and len(runs("data_cache")) == ALL + 4
        assert "0 runs are missing" in lazyjam("run", "tiny", "--dry-run").stdout

        @observable()
        def late(trained):
            return trained.t

        setup = Setup(P=20, P_test=50, P_kernel=0, d=5, L=1, h=16)
        axes = dict(alpha_tilde=[1.0, 10.0], seed=range(3))
        sweep(setup, [late], Cache("data_cache"), executor=client.get_executor(), progress=False, **axes)
    assert missing(setup, [late, N_delta], Cache("data_cache"), **axes) == [] and not list(elsewhere.iterdir())


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.stress)])
def test_a_sweep_that_is_killed_at_random_moments_goes_on(project, kills):
    """All processes of `lazyjam sweep` die at once. What was on disk is whole, and the end is that of a calm one."""
    rng, kept = random.Random(kills), {}
    words = ["sweep", "tiny", "-p", "seeds", "12"]
    command = [sys.executable, "-c", "from lazyjam.cli import app; app()", *words]

    def records() -> dict[str, Record]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cache = Cache("data_cache")
            assert cache.verify() == (len(cache.keys()), [])
            return {key: cache.get(key) for key in cache.keys()}

    for attempt in range(kills):
        if attempt % 10 == 3:  # so that there is always something to do
            shutil.rmtree("data_cache/loose")
            kept = {}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        before = len(Cache("data_cache").keys())
        while process.poll() is None and len(Cache("data_cache").keys()) == before:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        now = records()
        assert kept.keys() <= now.keys() and now, "nothing that was there is lost"
        assert all(now[key].columns["N_delta"] == kept[key].columns["N_delta"] for key in kept if key in now)
        kept = now
    lazyjam(*words)
    calm = {key: record.columns for key, record in records().items()}
    shutil.rmtree("data_cache/loose")
    lazyjam(*words)
    again = records()
    assert calm.keys() == again.keys()
    for key, columns in calm.items():
        assert all(np.array_equal(columns[name], again[key].columns[name], equal_nan=True) for name in columns)


def test_the_command_for_the_sizes_of_the_paper_at_small_ones(tmp_path):
    """`lazyjam sweep CHAPTER -f book/paper.yml` is one command; here it is rehearsed without a GPU."""

    def call(*words):
        command = [sys.executable, "-c", "from lazyjam.cli import app; app()", *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    words = ("fig05_double_descent", "-f", "book/quick.yml", "-p", "cache", str(tmp_path / "cache"))
    said = call("sweep", *words)
    assert " 0 left for want of time, 0 left to other machines" in said and int(said.split()[0]) > 20
    assert "0 runs are missing" in call("run", *words, "--dry-run")
