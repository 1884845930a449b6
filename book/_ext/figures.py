"""The figure under a cell of a chapter is the file that the cell has saved, with a text that says what is to be seen.

A cell that calls `plots.save(figure, figures, "NAME", ...)` shows `figures/NAME.svg`: lighter than the pixels of the
notebook, sharp at every size, and there without execution. Its text is that of the same figure at the top of the page,
or `mystnb: {image: {alt: ...}}` in the metadata of the cell. A figure without one is a warning, at which a strict build
fails.
"""

import re

from docutils import nodes
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

LOG = logging.getLogger(__name__)
SAVED = re.compile(r'plots\.save\([^"]*"(\w+)"')


class SavedFigures(SphinxTransform):
    default_priority = 500

    def apply(self):
        described = {image["uri"]: image.get("alt", "") for image in self.document.findall(nodes.image)}
        for cell in elements(self.document, "cell_code"):
            own = cell["cell_metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
            drawn = [bundle for bundle in elements(cell, "mime_bundle") if "<Figure size" in bundle.astext()]
            saved = [f"../figures/{name}.svg" for name in SAVED.findall(cell.astext())]
            if drawn and not all(own or described.get(uri) for uri in saved or [""]):
                LOG.warning("a figure has no text that says what is to be seen", location=cell)
            for bundle, uri in zip(drawn, saved, strict=False):
                bundle.replace_self(nodes.image(uri=uri, alt=own or described.get(uri, ""), width="100%"))


def elements(node, kind):
    """The containers of one kind in `node`, as myst-nb names them."""
    return [one for one in node.findall(nodes.container) if one.get("nb_element") == kind]


def setup(app):
    app.add_transform(SavedFigures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
