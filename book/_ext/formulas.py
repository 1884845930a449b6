"""Formulas as MathML, which browsers typeset themselves, without a script.

docutils translates the LaTeX when the book is built. A formula that it does not know is a warning with its place, at
which a strict build fails. The font is STIX Two Math, as the package `ziamath` holds it, less what no formula needs.
"""

import re
from html import escape
from importlib.util import find_spec
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from fontTools import subset
from sphinx.util import logging

LOG = logging.getLogger(__name__)
FONT = "_static/formulas.woff"
CHARACTERS = ("20-7E,B1,D7,2D9,2DC,302,303,307,391-3F5,2016-2063,"
              "210B-2135,2190-2195,2200-223D,2248-226B,22A5,22C5,27C2,27E8-27FA,1D434-1D467,1D6A4-1D71B")
ACCENTED = re.compile(r"(\\(?:tilde|dot|hat|bar))\s*(\\[A-Za-z]+|[A-Za-z])(?=\s*_)")
"""A letter with an accent and an index, which docutils would put under the letter."""


def inline(self, node):
    self.body.append(f'<span class="math notranslate">{mathml(node, as_block=False)}</span>')
    raise nodes.SkipNode


def block(self, node):
    self.body.append(f'<div class="math notranslate">{mathml(node, as_block=True)}</div>')
    raise nodes.SkipNode


def mathml(node, as_block):
    """The formula of a node; where it cannot be read, its LaTeX."""
    tex = node.astext().strip()
    try:
        if node.get("number") is not None:
            raise MathError("numbers of equations are not provided for")
        formula = tex2mathml(ACCENTED.sub(r"\1{\2}{}", tex), as_block)
        return formula.replace("\n", "").replace(">~</mo>", ">˜</mo>")  # the small one of an accent
    except MathError as error:
        LOG.warning("the formula %r is not typeset: %s", tex, error, location=node)
        return f"<code>{escape(tex)}</code>"


def write_font(app, exception):
    if exception is None and app.builder.format == "html":
        font = Path(find_spec("ziamath").origin).parent / "fonts/STIXTwoMath-Regular.ttf"
        target = f"--output-file={Path(app.outdir) / FONT}"
        subset.main([str(font), f"--unicodes={CHARACTERS}", "--flavor=woff", target])


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("build-finished", write_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
