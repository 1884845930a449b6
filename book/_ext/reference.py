"""The docstrings of the library on the page api.md. They are plain text with `names`: bars are no markup."""

import re


def plain(app, what, name, obj, options, lines):
    """A bar is a bar, and not the beginning of a substitution."""
    lines[:] = [line.replace("|", r"\|") for line in lines]


def short(app, what, name, obj, options, signature, returns):
    """Types as the code names them, without the packages that they come from."""
    named = re.compile(r"(?<![\w.])(?:[a-z_]\w*\.)+(?=[A-Za-z])")
    return tuple(text and named.sub("", text) for text in (signature, returns))


def setup(app):
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.autosummary")
    app.connect("autodoc-process-docstring", plain)
    app.connect("autodoc-process-signature", short)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
