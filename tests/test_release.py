"""What is published: the workflow that does it, and the archive of the kept results."""

import hashlib
import json
import re
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.specifiers import SpecifierSet

from lazyjam.cache import Cache, Record, key

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "book/_ext"))

from archive import archive  # noqa: E402

WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text())
JOBS = WORKFLOW["jobs"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def commands(job: str) -> list[str]:
    return [step["run"].split("#")[0].strip() for step in JOBS[job]["steps"] if "run" in step]


def test_the_workflow_calls_the_two_commands_of_the_readme():
    block = re.search(r"## Two commands\n+```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    book, test = (line.split("#")[0].strip() for line in block.splitlines())
    assert commands("book") == [book]
    assert commands("test")[-1] == test


def test_what_the_workflow_makes_the_makefile_knows():
    targets = set(re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split())
    called = {line.removeprefix("make ") for job in JOBS for line in commands(job) if line.startswith("make ")}
    assert called == {"book", "test", "archive", "links"} <= targets


def test_every_python_that_is_promised_is_tested():
    tested = JOBS["test"]["strategy"]["matrix"]["python"]
    promised = [c.rsplit(" ")[-1] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert tested == promised
    assert all(SpecifierSet(PROJECT["requires-python"]).contains(version) for version in tested)
    assert not SpecifierSet(PROJECT["requires-python"]).contains("3.10")
    others = {step["with"]["python-version"] for job in set(JOBS) - {"test"} for step in JOBS[job]["steps"]
              if "setup-python" in step.get("uses", "")}  # fmt: skip
    assert others <= set(tested)


def test_a_job_may_write_only_what_it_publishes():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    may = {name: job["permissions"] for name, job in JOBS.items() if "permissions" in job}
    assert may == {"deploy": {"pages": "write", "id-token": "write"}, "release": {"contents": "write"}}


def test_only_what_passed_is_published_and_links_stop_nothing():
    for name in ("deploy", "release"):
        assert set(JOBS[name]["needs"]) == {"test", "book"}
    assert "refs/heads/main" in JOBS["deploy"]["if"] and "refs/tags/v" in JOBS["release"]["if"]
    assert not any("links" in job.get("needs", ()) for job in JOBS.values())
    assert "pull_request" not in JOBS["links"]["if"] and "push" not in JOBS["links"]["if"]


def test_every_action_has_a_version_and_every_job_an_end():
    used = [step["uses"] for job in JOBS.values() for step in job["steps"] if "uses" in step]
    assert used and all(re.fullmatch(r"actions/[\w-]+@v\d+", name) for name in used)
    assert all(job["timeout-minutes"] <= 60 for job in JOBS.values())


@pytest.fixture
def folder(tmp_path):
    cache = Cache(tmp_path / "cache")
    keys = [key({"h": h}) for h in (1, 2, 3)]
    for number, one in enumerate(keys):
        cache.put(one, Record({"fields": {"h": number + 1}}, {"N_delta": np.array(number)}))
    cache.pack(keys[:2], "first")
    cache.pack(keys[1:], "second")
    return tmp_path / "cache"


def test_the_archive_says_what_it_holds(folder, tmp_path):
    data = archive(folder, PROJECT)
    assert data == archive(folder, PROJECT)
    (tmp_path / "all.zip").write_bytes(data)
    top = f"lazyjam-records-{PROJECT['version']}"
    with zipfile.ZipFile(tmp_path / "all.zip") as file:
        manifest = json.loads(file.read(f"{top}/manifest.json"))
        assert manifest["version"] == PROJECT["version"] and manifest["licence"] == PROJECT["license"]
        assert manifest["records"] == 3
        assert set(file.namelist()) == {f"{top}/{name}" for name in [*manifest["packs"], "manifest.json", "README.txt"]}
        for name, pack in manifest["packs"].items():
            packed = file.read(f"{top}/{name}")
            assert (pack["bytes"], pack["sha256"]) == (len(packed), hashlib.sha256(packed).hexdigest())
            assert pack["records"] == 2


def test_the_archive_is_read_with_lazyjam_and_without(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "all.zip").write_bytes(archive(folder, PROJECT))
    zipfile.ZipFile(tmp_path / "all.zip").extractall(tmp_path)
    unpacked = tmp_path / f"lazyjam-records-{PROJECT['version']}"
    other = Cache(tmp_path / "other")
    assert other.merge(unpacked) == 3
    assert other.get(key({"h": 3})).columns["N_delta"] == 2
    monkeypatch.chdir(unpacked)
    exec(re.search(r"```python\n(.*?)```", Path("README.txt").read_text(), re.DOTALL)[1], {})
    assert re.search(r"{'fields': {'h': [12]}} {'N_delta': array\([01]\)}", capsys.readouterr().out)
