"""Whatever a person gives as a parameter is taken or refused with one sentence, never with a traceback."""

import jaxtyping
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lazyjam.chapters import chapters, project
from lazyjam.parameters import checked, from_file

CHAPTERS = chapters(project(__file__))
NAMES = sorted({name for one in CHAPTERS.values() for name in one.parameters})

numbers = st.integers() | st.floats() | st.sampled_from([0, -1, 1, 1e400, -0.0, 10**30, 1e-320])
words = st.text() | st.sampled_from(["mnist", "cifar10", "file:", "file:no", "1e3", "[1,", "[]", "nan", "4,4", "\0"])
values = numbers | words | st.booleans() | st.none() | st.lists(numbers | words, max_size=4)
names = st.sampled_from(NAMES) | st.text(max_size=8)
rough = settings(max_examples=300, deadline=None, derandomize=True,
                 suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def as_a_user():
    """Without the checks of types that pytest adds, which come before the sentences that a user sees."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


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


parameters = st.dictionaries(names, values, max_size=2)
contents = st.dictionaries(st.sampled_from(sorted(CHAPTERS)) | names | numbers, values | parameters, max_size=3)


@rough
@given(chapter=st.sampled_from(sorted(CHAPTERS)), text=st.text() | contents.map(yaml.safe_dump))
def test_files(as_a_user, tmp_path, chapter, text):
    path = tmp_path / "values.yml"
    path.write_text(text, encoding="utf-8", errors="replace", newline="")
    taken_or_refused(CHAPTERS[chapter], lambda: from_file(CHAPTERS[chapter], path, CHAPTERS))


def test_images_in_a_file_are_there_before_anything_starts(tmp_path):
    chapter = CHAPTERS["fig05_double_descent"]
    with pytest.raises(FileNotFoundError, match=r"no file 'nowhere.npz': correct dataset='file:nowhere.npz'"):
        checked(chapter, {"left": "file:nowhere.npz"})
    (tmp_path / "mine.npz").touch()
    assert checked(chapter, {"left": f"file:{tmp_path}/mine.npz"}) == {"left": f"file:{tmp_path}/mine.npz"}
