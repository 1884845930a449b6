"""The verdict on a claim can be linked to: `fig04_phase_diagram.html#FIG4-A` is where the chapter shows it."""

from docutils import nodes
from sphinx.transforms import SphinxTransform

from lazyjam.claims import claims


class Anchors(SphinxTransform):
    default_priority = 500

    def apply(self):
        left = set(claims())
        for strong in self.document.findall(nodes.strong):
            if (name := strong.astext()) in left and isinstance(strong.parent.parent, nodes.container):
                left.remove(name)
                strong["ids"].append(name)


def setup(app):
    app.add_transform(Anchors)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
