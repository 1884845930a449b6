"""A frame around every verdict that a cell shows, with a class for each kind, so that a reader finds the numbers.

It can be linked to: `fig04_phase_diagram.html#FIG4-A` is where the chapter shows the verdict on that claim.
"""

from docutils import nodes

from lazyjam.claims import claims
from lazyjam.scorecard import VERDICTS


def frame(app, doctree):
    """The two paragraphs of a Verdict: its claim, then what is expected, measured and concluded."""
    left = set(claims())  # an address is given once
    for shown in doctree.findall(lambda node: isinstance(node, nodes.container) and "mime_type" in node):
        names = [node.next_node(nodes.strong) for node in shown.children]
        if len(names) == 2 and all(names) and (name := names[0].astext()) in claims():
            kind = VERDICTS.index(names[1].astext())
            ids = [name] if name in left else []
            left.discard(name)
            shown[:] = [nodes.container("", *shown.children, classes=["verdict", f"verdict-{kind}"], ids=ids)]


def setup(app):
    app.connect("doctree-read", frame)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
