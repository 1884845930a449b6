"""What the pages of the book need: formulas and plotly without a network, and the version in the footer.

Jupyter Book would take MathJax from another host. Here it is one file of the package `sphinx-mathjax-offline` (MathJax
3.2.2, Apache licence 2.0), which holds its fonts as SVG paths and needs nothing else. Only pages with formulas load it.
The script of plotly comes from its own package. Only pages with a picture that can be scrubbed load it.
"""

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from shutil import copyfile

from lazyjam.interactive import PLOTLY

MATHJAX = "mathjax/tex-svg-full.js"
SCRIPTS = (("sphinx-mathjax-offline", f"static/{MATHJAX}", f"_static/{MATHJAX}"),
           ("plotly", "package_data/plotly.min.js", PLOTLY))  # fmt: skip
"""Package, file in it, and where the built book holds it."""


def configure(app, config):
    """Point to the local MathJax, name the version, and silence thebe, whose script would come from another host."""
    config.mathjax_path = MATHJAX
    config.html_theme_options["extra_footer"] = f"lazyjam {version('lazyjam')}"
    for listeners in app.events.listeners.values():
        listeners[:] = [listener for listener in listeners if listener.handler.__module__ != "sphinx_thebe"]


def copy_scripts(app, exception):
    if exception is None and app.builder.format == "html":
        for package, source, target in SCRIPTS:
            target = Path(app.outdir) / target
            target.parent.mkdir(parents=True, exist_ok=True)
            copyfile(Path(find_spec(package).origin).parent / source, target)


def setup(app):
    app.connect("config-inited", configure)
    app.connect("build-finished", copy_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
