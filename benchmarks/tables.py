"""What the benchmarks share: a clock, and tables that are printed and, if asked, written for the book."""

import argparse
import csv
import time
from collections.abc import Callable
from pathlib import Path

import torch

from lazyjam.training import keep_memory

FIGURES = Path(__file__).resolve().parent.parent / "figures"


def cpu_seconds(function: Callable[[], object], least: float) -> float:
    """The median over calls that take at least so many seconds together."""
    function()
    times: list[float] = []
    while sum(times) < least or len(times) < 5:
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return sorted(times)[len(times) // 2]


def write(name: str, rows: list[dict[str, str]], keep: bool) -> None:
    """Print the rows as a table; with `keep`, also write figures/benchmark_<name>.csv."""
    columns = [[key, *(row[key] for row in rows)] for key in rows[0]]
    widths = [max(map(len, column)) for column in columns]
    lines = zip(*columns, strict=True)
    print(f"\n{name}")
    print("\n".join("  ".join(map(str.rjust, line, widths)) for line in lines), flush=True)
    if keep:
        with open(FIGURES / f"benchmark_{name}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def one_table(name: str, about: str, rows: Callable[[], list[dict[str, str]]]) -> None:
    """A program that measures one table on one thread: about, for --help; --write keeps the table."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table of the book")
    keep = parser.parse_args().write
    torch.set_num_threads(1)
    keep_memory()
    write(name, rows(), keep)
