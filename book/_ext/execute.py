"""Execute notebooks in place as they are committed: text outputs only, and nothing that differs between machines.

`python book/_ext/execute.py book/*.ipynb`; `make notebooks` calls it.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

PICTURES = ("image/", "text/html", "application/vnd.plotly")


def execute(path: Path) -> None:
    """Run every cell of `path` in its own folder, drop the pictures of its outputs, and write it back."""
    notebook = nbformat.read(path, as_version=4)
    folder = {"metadata": {"path": path.parent}}
    NotebookClient(notebook, timeout=3600, record_timing=False, coalesce_streams=True, resources=folder).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for kind in [kind for kind in output.get("data", {}) if kind.startswith(PICTURES)]:
                del output["data"][kind]
                output["metadata"].pop(kind, None)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(f"executing {name}", flush=True)
        execute(Path(name))
