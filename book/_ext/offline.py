"""What the pages of the book need: plotly without a network, and the version in the footer.

The script of plotly comes from its own package. Only pages with a picture that can be scrubbed load it.
"""

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from shutil import copyfile

from lazyjam.interactive import PLOTLY


def configure(app, config):
    """Name the version, and silence thebe, whose script would come from another host."""
    config.html_theme_options["extra_footer"] = f"lazyjam {version('lazyjam')}"
    app.registry.css_files[:] = [one for one in app.registry.css_files if one[0] != "sphinx-thebe.css"]
    for listeners in app.events.listeners.values():
        listeners[:] = [listener for listener in listeners if listener.handler.__module__ != "sphinx_thebe"]


def copy_plotly(app, exception):
    if exception is None and app.builder.format == "html":
        place = Path(app.outdir) / PLOTLY
        place.parent.mkdir(parents=True, exist_ok=True)
        copyfile(Path(find_spec("plotly").origin).parent / "package_data/plotly.min.js", place)


def setup(app):
    app.connect("config-inited", configure)
    app.connect("build-finished", copy_plotly)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
