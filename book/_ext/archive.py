"""All packs of kept results in one file that a release can carry: the same packs give the same bytes.

`python book/_ext/archive.py` writes dist/lazyjam-records-VERSION.zip; `make archive` calls it. Unpacked, it is a cache.
"""

import hashlib
import json
import tomllib
import zipfile
from pathlib import Path

from lazyjam import records
from lazyjam.cache import Cache
from lazyjam.chapters import held

ROOT = Path(__file__).parents[2]
README = """\
The results that the book lazyjam {version} reads: {records} records in {packs} packs. Licence: {licence}.

manifest.json has the size, the SHA-256 and the number of records of every pack. `lazyjam cache merge FOLDER` adds the
records of this folder to a cache. Without lazyjam a pack is a zip of files that numpy reads:

```python
import io, json, zipfile
import numpy as np

pack = zipfile.ZipFile("{example}")
record = np.load(io.BytesIO(pack.read(pack.namelist()[0])))
print(json.loads(record["meta.json"])["meta"], {{name: record[name] for name in record if name != "meta.json"}})
```

`meta` says what was computed (`fields`, of a run: what differs from the defaults of `lazyjam.Setup`), how, from which
data, and what it cost. The other entries are what was measured. The page "The library" of the book explains them.
"""


def archive(folder: Path, project: dict) -> bytes:
    """The packs of a cache with a manifest and a text that says how to read them. project: that of pyproject.toml."""
    where = held(Cache(folder))
    del where["loose"]
    about = {"name": "lazyjam records", "version": project["version"], "licence": project["license"]}
    files = {name: (folder / name).read_bytes() for name in where}
    packs = {name: {"bytes": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest(), "records": len(keys)}
             for name, keys in sorted(where.items())}  # fmt: skip
    about |= {"records": len(set().union(*where.values())), "packs": packs}
    text = README.format(**(about | {"packs": len(packs), "example": min(packs)}))
    files |= {"manifest.json": json.dumps(about, indent=1).encode(), "README.txt": text.encode()}
    top = f"lazyjam-records-{project['version']}"
    return records.archive({f"{top}/{name}": data for name, data in files.items()}, zipfile.ZIP_STORED)


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    path = ROOT / f"dist/lazyjam-records-{project['version']}.zip"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(archive(ROOT / "data_cache", project))
    print(f"{path} has {path.stat().st_size / 1e6:.1f} MB")
