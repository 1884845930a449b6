"""Work shared among processes: one function, many arguments, results as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from typing import TypeVar

from loky import cpu_count, get_reusable_executor  # it sends functions of a notebook too, and tells of a killed worker

ALONE = 10.0  # seconds; what takes less is done here, because processes need some seconds to start

Item, Result = TypeVar("Item"), TypeVar("Result")


def spread(
    task: Callable[[Item], Result], items: Iterable[Item], executor: Executor | None = None, *, processes: int = 0,
    initializer: Callable[..., None] | None = None, initargs: tuple = (),
) -> Iterator[Result]:
    """The results of task(item), in the order in which they are finished. The items come longest first.

    executor: where they are computed, any concurrent.futures.Executor. Without one, the first seconds of work are done
    here and the rest in as many `processes` as there are cores (0), which stay warm for a while and begin
    with initializer(*initargs).
    An error, Ctrl-C, or leaving the iterator stops our processes at once, and cancels what has not begun elsewhere.
    Raises ChildProcessError if a process is killed.
    """
    waiting, start, pending = list(items), time.monotonic(), set[Future[Result]]()
    ours = executor is None
    if ours:
        processes = processes or cpu_count()
        while waiting and (len(waiting) == 1 or time.monotonic() - start < ALONE):
            yield task(waiting.pop())  # a small one, so that it is soon known whether the work is long
        if not waiting:
            return
        executor = get_reusable_executor(max_workers=processes, initializer=initializer, initargs=initargs)
    try:
        pending = {executor.submit(task, item) for item in waiting}
        for future in as_completed(pending):
            pending.discard(future)
            result = future.result()
            del future  # nobody keeps it: dask would compute again what a dead worker had finished
            yield result
    except BrokenExecutor as error:
        sentence = "a process was killed, perhaps for lack of memory. What was finished is kept: run again to go on."
        raise ChildProcessError(sentence) from error
    except BaseException:
        if ours:  # it would go on with what it has begun, and the interpreter would wait for it
            executor.shutdown(wait=False, kill_workers=True)
            pending = set()
        raise
    finally:
        for future in pending:
            future.cancel()
