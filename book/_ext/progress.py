"""What `make book` says of its chapters: how long they took together, and which cell of which failed with what.

Sphinx writes the traceback of a chapter that fails to a file of its own. The cell and the message stand in the output,
where it happened and once more at the end.
"""

import re

from nbclient import NotebookClient
from sphinx.util import logging

logger = logging.getLogger(__name__)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def failure(chapter: str, ran: dict) -> str:
    """One line for a chapter that failed: the number of the cell, its first line, and the message."""
    lines = [line for line in COLOURS.sub("", ran["traceback"] or "no traceback").splitlines() if line.strip()]
    first = next((after for line, after in zip(lines, lines[1:], strict=False) if set(line) == {"-"}), "")
    number = re.search(r"Cell In\[(\d+)\]", "\n".join(lines))
    cell = f"cell [{number[1] if number else '?'}], `{first}`" if first else "no cell"
    return f"{chapter} failed after {ran['runtime']:.0f} s in {cell}: {lines[-1]}"


def executed(app) -> dict[str, dict]:
    """What is known of every chapter that was executed, by its name."""
    known = {name: app.env.nb_metadata[name].get("exec_data") for name in app.env.nb_metadata}
    return {name: ran for name, ran in known.items() if ran}


def tell(app, doctree):
    ran = executed(app).get(app.env.docname)
    if ran and not ran["succeeded"]:
        logger.info(failure(app.env.docname, ran))


def sum_up(app, exception):
    ran = executed(app)
    if ran:
        logger.info(f"{len(ran)} chapters executed in {sum(one['runtime'] for one in ran.values()):.0f} s")
    for name, one in ran.items():
        if not one["succeeded"]:
            logger.info(failure(name, one))


def setup(app):
    # every kernel warns that it speaks over TCP, and nothing else
    NotebookClient.extra_arguments.default_args = (["--log-level=ERROR"],)
    app.connect("doctree-read", tell)
    app.connect("build-finished", sum_up)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
