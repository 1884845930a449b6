"""Work shared among processes: every result arrives once, whatever dies; processes only for what takes long."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future

import pytest

from lazyjam import workers
from lazyjam.workers import spread


def where(item: int) -> tuple[int, int]:
    return item, os.getpid()


def test_short_work_stays_here_and_begins_with_the_smallest():
    assert list(spread(where, range(4))) == [(item, os.getpid()) for item in (3, 2, 1, 0)]


def test_long_work_goes_to_processes(monkeypatch):
    monkeypatch.setattr(workers, "ALONE", 0.0)
    results = dict(spread(where, range(8), processes=2))
    assert sorted(results) == list(range(8)) and os.getpid() not in results.values()
    assert list(spread(where, [7], processes=2)) == [(7, os.getpid())], "one item needs no other process"


def test_there_are_as_many_processes_as_cores(monkeypatch):
    asked = []
    monkeypatch.setattr(workers, "ALONE", 0.0)
    monkeypatch.setattr(workers, "cpu_count", lambda: 5)
    monkeypatch.setattr(workers, "get_reusable_executor", lambda max_workers, **_: asked.append(max_workers) or Lazy())
    results = spread(where, range(3))
    next(results)
    assert asked == [5]


def test_a_function_of_a_notebook_goes_along(monkeypatch):
    monkeypatch.setattr(workers, "ALONE", 0.0)
    shift = 10
    assert sorted(spread(lambda item: item + shift, range(3), processes=2)) == [10, 11, 12]


def tell(word: str) -> None:
    os.environ["TOLD"] = word


def test_our_processes_begin_with_what_they_are_told_to(monkeypatch):
    monkeypatch.setattr(workers, "ALONE", 0.0)
    monkeypatch.delenv("TOLD", raising=False)
    told = spread(lambda item: os.environ["TOLD"], range(3), processes=2, initializer=tell, initargs=("word",))
    assert [*told] == ["word"] * 3 and "TOLD" not in os.environ


class Lazy(Executor):
    """Runs the first two jobs, and knows what becomes of the others."""

    def shutdown(self, **_):
        pass

    def __init__(self):
        self.futures = []

    def submit(self, fn, *args):
        future = Future()
        if len(self.futures) < 2:
            future.set_running_or_notify_cancel()
            future.set_result(fn(*args))
        self.futures.append(future)
        return future


def test_what_has_not_begun_elsewhere_is_cancelled_when_the_caller_leaves():
    executor = Lazy()
    results = spread(where, range(5), executor)
    next(results)
    results.close()
    assert [future.cancelled() for future in executor.futures] == [False, False, True, True, True]


def test_our_processes_stop_when_the_caller_leaves(monkeypatch, tmp_path):
    def slow(item):
        (tmp_path / str(item)).touch()
        time.sleep(0.5)

    monkeypatch.setattr(workers, "ALONE", 0.0)
    results = spread(slow, range(30), processes=2)
    next(results)
    results.close()
    time.sleep(0.5)
    begun = len(list(tmp_path.iterdir()))
    time.sleep(2)
    assert len(list(tmp_path.iterdir())) == begun < 6


def test_an_error_comes_through(monkeypatch):
    monkeypatch.setattr(workers, "ALONE", 0.0)
    with pytest.raises(ZeroDivisionError):
        list(spread(lambda item: 1 // item, [2, 1, 0], processes=2))


def test_a_killed_process_is_told_and_the_next_call_works(monkeypatch):
    def deadly(item):
        time.sleep(0.2 * item)
        if item == 1:
            os.kill(os.getpid(), 9)
        return item

    monkeypatch.setattr(workers, "ALONE", 0.0)
    with pytest.raises(ChildProcessError, match="killed, perhaps for lack of memory. What was finished is kept"):
        list(spread(deadly, range(4), processes=2))
    assert sorted(spread(where, range(3), processes=2))[0][0] == 0


LONG = """
import time
from lazyjam import workers
workers.ALONE = 0.0

def long(item):
    print("started", flush=True)
    time.sleep(60)

list(workers.spread(long, range(6), processes=2))
"""


@pytest.mark.parametrize("whom", ["the parent", "all, as on a terminal"])
def test_ctrl_c_does_not_wait_for_what_has_begun(whom):
    process = subprocess.Popen(
        [sys.executable, "-c", LONG], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout.read(7) == "started"
    start = time.monotonic()
    (process.send_signal if whom == "the parent" else lambda number: os.killpg(process.pid, number))(signal.SIGINT)
    said = process.communicate(timeout=30)[1]
    assert time.monotonic() - start < 15 and process.returncode
    assert "\nKeyboardInterrupt\n" in said  # a worker that is told to stop as well may write behind it
