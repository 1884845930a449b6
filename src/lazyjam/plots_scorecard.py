"""The drawing of the conclusion: how far each measurement is from what the review says."""

from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator

from .claims import NOT_REPRODUCED, OUT_OF_REACH, REPRODUCED

STYLES = {REPRODUCED: ("#009E73", "o", "full"), NOT_REPRODUCED: ("#D55E00", "X", "full"),
          OUT_OF_REACH: ("#555555", "s", "none")}  # fmt: skip


def deviations(ax: Axes, numbers: pd.DataFrame, titles: dict[str, str]) -> Axes:
    """(measured - expected) / tolerance of the claims on a value, one column each, chapter by chapter.

    numbers: columns id, chapter, off, error and verdict, see `Scorecard.deviations`. titles: of the chapters. Beyond
    two tolerances the axis is logarithmic. The grey band is one tolerance.
    """
    numbers = numbers.sort_values("chapter", key=lambda names: names.map(list(titles).index), kind="stable")
    x = np.arange(len(numbers))
    ax.axhspan(-1, 1, color="0.9", lw=0)
    ax.axhline(0, color="0.6", lw=0.8)
    for verdict, (colour, marker, filled) in STYLES.items():
        chosen = (numbers.verdict == verdict).values
        one = numbers[chosen]
        ax.errorbar(x[chosen], one.off, one.error.fillna(0), color=colour, marker=marker, fillstyle=filled, ms=5, lw=0,
                    elinewidth=1, label=f"{verdict} ({len(one)})")  # fmt: skip
    ax.set_yscale("symlog", linthresh=2, linscale=1.5)
    ticks = [-10, -5, -2, -1, 0, 1, 2, 5, 10, 20]
    ax.yaxis.set_major_locator(FixedLocator(ticks))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:+g}" if value else "0")
    ax.yaxis.set_minor_locator(FixedLocator([]))
    ax.set_xticks(x, numbers.id, rotation=90, fontsize=6)
    ax.set(xlim=(-1, len(x)), ylabel="(measured − expected) / tolerance")
    starts = np.flatnonzero(numbers.chapter.values[1:] != numbers.chapter.values[:-1]) + 0.5
    edges = [-0.5, *starts, len(x) - 0.5]
    for start in starts:
        ax.axvline(start, color="0.75", lw=0.6)
    for chapter, left, right in zip(dict.fromkeys(numbers.chapter), edges[:-1], edges[1:], strict=True):
        name = titles[chapter].replace("Figure", "Fig.").partition(":")[0]
        upright = right - left < 5  # no room for words side by side
        wrapped = name if upright else fill(name, max(6, int(1.8 * (right - left))), break_long_words=False)
        ax.text((left + right) / 2, 1.01, wrapped, ha="center", va="bottom", fontsize=7, rotation=90 * upright,
                transform=ax.get_xaxis_transform())  # fmt: skip
    low, high = ax.get_ylim()
    ax.set_ylim(4 * min(low, -5), max(high, 5))  # room for the legend
    ax.legend(loc="lower left", ncols=3)
    return ax
