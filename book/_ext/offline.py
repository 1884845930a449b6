"""What every page of the book needs: formulas without a network, and the version in the footer.

Jupyter Book would take MathJax from another host. Here it is one file of the package `sphinx-mathjax-offline` (MathJax
3.2.2, Apache licence 2.0), which holds its fonts as SVG paths and needs nothing else. Only pages with formulas load it.
"""

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from shutil import copyfile

MATHJAX = "mathjax/tex-svg-full.js"


def configure(app, config):
    """Point to the local MathJax, name the version, and silence thebe, whose script would come from another host."""
    config.mathjax_path = MATHJAX
    config.html_theme_options["extra_footer"] = f"lazyjam {version('lazyjam')}"
    for listeners in app.events.listeners.values():
        listeners[:] = [listener for listener in listeners if listener.handler.__module__ != "sphinx_thebe"]


def copy_mathjax(app, exception):
    if exception is None and app.builder.format == "html":
        source = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / MATHJAX
        target = Path(app.outdir) / "_static" / MATHJAX
        target.parent.mkdir(parents=True, exist_ok=True)
        copyfile(source, target)


def setup(app):
    app.connect("config-inited", configure)
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
