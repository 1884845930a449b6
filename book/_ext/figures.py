"""The figure under a cell of a chapter is the file that the cell has saved, with the text that describes it.

A cell that calls `plots.save(figure, figures, "NAME", ...)` shows `figures/NAME.svg`: lighter than the pixels of the
notebook, sharp at every size, and there without execution. Who cannot see it reads what stands in the metadata of the
cell, `mystnb: {image: {alt: ...}}`.
"""

import re

from docutils import nodes
from sphinx.transforms import SphinxTransform

SAVED = re.compile(r'plots\.save\([^"]*"(\w+)"')


class SavedFigures(SphinxTransform):
    default_priority = 500

    def apply(self):
        for cell in elements(self.document, "cell_code"):
            drawn = [bundle for bundle in elements(cell, "mime_bundle") if "<Figure size" in bundle.astext()]
            alt = cell["cell_metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
            for bundle, name in zip(drawn, SAVED.findall(cell.astext()), strict=False):
                bundle.replace_self(nodes.image(uri=f"../figures/{name}.svg", alt=alt))


def elements(node, kind):
    """The containers of one kind in `node`, as myst-nb names them."""
    return [one for one in node.findall(nodes.container) if one.get("nb_element") == kind]


def setup(app):
    app.add_transform(SavedFigures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
