"""The score of the paper's claims: what the registry expects, beside the verdicts that executed notebooks hold.

    card = scorecard("book")            # in a notebook: a table that can be searched
    card.of("not reproduced")           # some claims, with what was measured
    card.select("FIG8-L", "FIG8-C")

A verdict by another rule than that of the registry does not count: such a claim is not run.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple
from urllib.parse import quote

from .chapters import notebooks, outputs
from .claims import MIME, NOT_REPRODUCED, OUT_OF_REACH, REPRODUCED, Claim, claims, rounded
from .spelling import nearest

NOT_RUN = "not run"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, OUT_OF_REACH, NOT_RUN)
SIGNS = dict(zip(VERDICTS, "✓✗?·", strict=True))  # beside the colour
PAGE = Path(__file__).with_name("scorecard.html")


class Row(NamedTuple):
    """A claim and its verdict. measured, error: None where there is no number. title: that of the chapter.

    page: the chapter in the built book; "" where no notebook of that name was read.
    """

    claim: Claim
    measured: float | None
    error: float | None
    verdict: str
    reason: str
    title: str
    page: str

    @property
    def found(self) -> str:
        """What was measured: "0.12 ± 0.10", or a dash."""
        if self.measured is None:
            return "–"
        measured, error = rounded(self.measured, math.nan if self.error is None else self.error)
        return f"{measured} ± {error}" if self.error is not None else f"{measured}, no error"

    @property
    def off(self) -> float:
        """(measured - expected) / tolerance of a claim on a value; NaN for an ordering, and without a number."""
        if self.measured is None or self.claim.tolerance is None:
            return math.nan
        return (self.measured - self.claim.expected) / self.claim.tolerance

    def __str__(self) -> str:
        return self.claim.line(self.found, self.verdict, self.reason)


@dataclass(frozen=True)
class Claims:
    """Some claims with their verdicts: one line each, in a notebook a list."""

    rows: tuple[Row, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.rows))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        items = [
            f"- **{row.claim.id}**: {row.claim.statement} Expected {row.claim.expectation}, measured {row.found}: "
            f"**{row.verdict}**. {row.reason}".rstrip() for row in self.rows
        ]  # fmt: skip
        return {"text/plain": str(self), "text/markdown": "\n".join(items)}


@dataclass(frozen=True)
class Scorecard:
    """All claims in the order of the registry. In a notebook it is a table with filters, as text the counts."""

    rows: tuple[Row, ...]

    def select(self, *ids: str) -> Claims:
        """The claims of these ids. Raises ValueError for one that the registry does not have."""
        rows = {row.claim.id: row for row in self.rows}
        for id in ids:
            if id not in rows:
                raise ValueError(f"unknown claim {id!r}{nearest(id, rows)}")
        return Claims(tuple(rows[id] for id in ids))

    def of(self, verdict: str) -> Claims:
        """The claims of that verdict. Raises ValueError for a word that is none."""
        if verdict not in VERDICTS:
            raise ValueError(f"unknown verdict {verdict!r}{nearest(verdict, VERDICTS)}")
        return Claims(tuple(row for row in self.rows if row.verdict == verdict))

    def counts(self) -> dict[str, Counter[str]]:
        """How often each verdict was given, by chapter, chapters in the order of the registry."""
        names = dict.fromkeys(row.claim.chapter for row in self.rows)
        return {name: Counter(row.verdict for row in self.rows if row.claim.chapter == name) for name in names}

    def deviations(self) -> list[dict[str, Any]]:
        """The claims on a value that have a number: `off` and its error, both in tolerances, and what was found."""
        return [
            {"id": row.claim.id, "chapter": row.claim.chapter, "off": row.off,
             "error": math.nan if row.error is None else row.error / row.claim.tolerance, "verdict": row.verdict}
            for row in self.rows if row.claim.tolerance is not None and row.measured is not None
        ]  # fmt: skip

    def __str__(self) -> str:
        titles = {row.claim.chapter: row.title for row in self.rows}
        lines = [f"{len(self.rows)} claims: {tally(Counter(row.verdict for row in self.rows))}"]
        return "\n".join([*lines, *(f"{titles[name]}: {tally(counts)}" for name, counts in self.counts().items())])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self.html()}

    def html(self) -> str:
        """The complete table, and a script that filters and sorts it where scripts run."""
        titles = {row.claim.chapter: row.title for row in self.rows}
        counts = Counter(row.verdict for row in self.rows)
        options = (f'<option value="{name}">{escape(title)}</option>' for name, title in titles.items())
        button = '<button type="button" aria-pressed="false" value="{0}">{1} {0} ({2})</button>'
        buttons = (button.format(one, SIGNS[one], counts[one]) for one in VERDICTS if counts[one])
        rows = (_html(number, row) for number, row in enumerate(self.rows))
        parts = {"options": options, "buttons": buttons, "rows": rows}
        page = Template(PAGE.read_text(encoding="utf-8"))
        return page.substitute({name: "\n".join(lines) for name, lines in parts.items()})


def scorecard(folder: str | Path) -> Scorecard:
    """The score by the executed notebooks of a folder. Raises ValueError where it has none."""
    found = notebooks(Path(folder))
    if not found:
        raise ValueError(f"there is no notebook in {Path(folder).resolve()}: name the folder of the executed chapters.")
    records = {(record["id"], record["rule"]): record for record in outputs(found.values(), MIME)}
    rows = []
    for id, claim in claims().items():
        record = records.get((id, claim.rule), {})
        chapter = found.get(claim.chapter)
        rows.append(
            Row(claim, record.get("measured"), record.get("error"), record.get("verdict", NOT_RUN),
                record.get("reason", ""), chapter.title if chapter else claim.chapter,
                f"{claim.chapter}.html" if chapter else "")
        )  # fmt: skip
    return Scorecard(tuple(rows))


def tally(counts: Counter[str]) -> str:
    """Counts in words, "3 reproduced, 1 not run", in the order of VERDICTS; what does not occur is left out."""
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])


def _html(number: int, row: Row) -> str:
    """A row of the table. What a column is sorted by stands in data-by."""
    claim = row.claim
    off = abs(row.off)
    link = f"{row.page}#{quote(claim.id)}"
    chapter = f'<a href="{escape(link)}">{escape(row.title)}</a>' if row.page else escape(row.title)
    reason = f"<small>{escape(row.reason)}</small>" if row.reason else ""
    cells = (
        ("Claim", number, f"<strong>{claim.id}</strong>"),
        ("Statement", "", f"{escape(claim.statement)} <small>{escape(claim.where)}</small>{reason}"),
        ("Review", "", escape(claim.expectation).replace(" ± ", " ±&nbsp;")),
        ("Measured", "", escape(row.found).replace(" ± ", " ±&nbsp;")),
        ("Off by", off if off == off else -1, f"{off:.1f}" if off == off else "–"),
        ("Verdict", VERDICTS.index(row.verdict), f"{SIGNS[row.verdict]} {row.verdict}"),
        ("Chapter", row.title, chapter),
    )
    columns = "".join(f'<td data-label="{label}" data-by="{escape(str(by))}">{text}</td>' for label, by, text in cells)
    return f'<tr data-verdict="{row.verdict}" data-chapter="{claim.chapter}">{columns}</tr>'
