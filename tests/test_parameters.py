"""Whatever a person gives as a parameter is taken or refused with one sentence, never with a traceback."""

from contextlib import chdir

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_filling import PARAMETERS as TINY
from test_filling import SWEEP, a_book
from typer.testing import CliRunner

from lazyjam.chapters import chapters, project
from lazyjam.cli import app
from lazyjam.parameters import checked, from_file

CHAPTERS = chapters(project(__file__))
NAMES = sorted({name for one in CHAPTERS.values() for name in one.parameters})

numbers = st.integers() | st.floats() | st.sampled_from([0, -1, 1, 1e400, -0.0, 10**30, 1e-320])
words = st.text() | st.sampled_from(["mnist", "cifar10", "file:", "file:no", "1e3", "[1,", "[]", "nan", "4,4", "\0"])
values = numbers | words | st.booleans() | st.none() | st.lists(numbers | words, max_size=4)
names = st.sampled_from(NAMES) | st.text(max_size=8)
ROUGH = dict(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
rough = settings(max_examples=300, derandomize=True, **ROUGH)


def taken_or_refused(chapter, get):
    try:
        changed = checked(chapter, get())
    except (ValueError, FileNotFoundError) as error:
        assert len(str(error).strip()) > 10 and "\n" not in str(error).strip()
    else:
        assert all(type(value) is type(chapter.parameters[name].default) for name, value in changed.items())


@rough
@given(chapter=st.sampled_from(sorted(CHAPTERS)), given_values=st.dictionaries(names, values, max_size=3))
def test_values(as_a_user, chapter, given_values):
    taken_or_refused(CHAPTERS[chapter], lambda: given_values)


options = st.sampled_from([
    ("--budget", "0"), ("--shard", "1/2"), ("--shard", "0/0"), ("--device", "tpu"), ("--precision", "single"), ("-p",),
    ("--executor", "dask", "--scheduler", "tls://127.0.0.1:1"), ("-f", "no.yml"), ("--executor", "")])  # fmt: skip
given_words = st.tuples(st.just("-p"), st.sampled_from(["h", "alpha_tilde", "seeds", "cache"]) | st.text(max_size=3),
                        values.map(str) | st.integers(-2, 9).map(str) | st.text(max_size=9))  # fmt: skip


def on_the_command_line(tmp_path_factory, as_a_user, words):
    """What `lazyjam` makes of words is an answer or a sentence on stderr. A dry run and a sweep that begins nothing."""
    folder = a_book(tmp_path_factory.mktemp("book"), TINY, SWEEP)
    words = [word for some in words for word in some]
    with chdir(folder):
        for command in (["run", "tiny", "--dry-run"], ["sweep", "tiny", "--budget", "0"]):
            result = CliRunner().invoke(app, [*command, *words])
            assert isinstance(result.exception, SystemExit | None), (words, result.exception)
            assert result.exit_code in (0, 1, 2) and "Traceback" not in result.output and "frame #" not in result.output
            assert result.exit_code == 0 or len(result.stderr.strip()) > 10


drawn = given(words=st.lists(given_words | options, max_size=3))
test_words_on_the_command_line = settings(rough, max_examples=30)(drawn(on_the_command_line))
test_random_words = pytest.mark.stress(settings(max_examples=500, **ROUGH)(drawn(on_the_command_line)))


parameters = st.dictionaries(names, values, max_size=2)
contents = st.dictionaries(st.sampled_from(sorted(CHAPTERS)) | names | numbers, values | parameters, max_size=3)


@rough
@given(chapter=st.sampled_from(sorted(CHAPTERS)), text=st.text() | contents.map(yaml.safe_dump))
def test_files(as_a_user, tmp_path, chapter, text):
    path = tmp_path / "values.yml"
    path.write_text(text, encoding="utf-8", errors="replace", newline="")
    taken_or_refused(CHAPTERS[chapter], lambda: from_file(CHAPTERS[chapter], path, CHAPTERS))


def test_a_file_that_is_nested_too_deep_is_refused(tmp_path):
    chapter, path = CHAPTERS["fig05_double_descent"], tmp_path / "deep.yml"
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="deep.yml is no YAML: "):
        from_file(chapter, path, CHAPTERS)


def test_images_in_a_file_are_there_before_anything_starts(tmp_path):
    chapter = CHAPTERS["fig05_double_descent"]
    with pytest.raises(FileNotFoundError, match=r"no file 'nowhere.npz': correct dataset='file:nowhere.npz'"):
        checked(chapter, {"left": "file:nowhere.npz"})
    (tmp_path / "mine.npz").touch()
    assert checked(chapter, {"left": f"file:{tmp_path}/mine.npz"}) == {"left": f"file:{tmp_path}/mine.npz"}
