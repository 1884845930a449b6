"""The directive `phase-diagram`: Figure 4 with its numbers under the pointer, from those that its chapter wrote.

    ```{phase-diagram} ../figures/fig04_phase_diagram.csv
    ```
"""

import pandas as pd
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from lazyjam.interactive import phase_diagram


class PhaseDiagram(SphinxDirective):
    required_arguments = 1

    def run(self):
        name, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(name)
        return [nodes.raw("", phase_diagram(pd.read_csv(path)).html(), format="html")]


def setup(app):
    app.add_directive("phase-diagram", PhaseDiagram)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
