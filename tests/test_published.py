"""What the pages of the book say about themselves: where they are published, how to run them, what they are about."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from docutils import nodes
from typer.testing import CliRunner

from lazyjam.cache import Cache
from lazyjam.chapters import chapters
from lazyjam.claims import claims
from lazyjam.cli import app
from lazyjam.training import MAX_GRADIENTS

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "book/_ext"))

import about  # noqa: E402
import published  # noqa: E402
import verdicts  # noqa: E402


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def remote(folder: Path, url: str) -> Path:
    git(folder, "init", "-q")
    git(folder, "remote", "add", "origin", url)
    return folder


@pytest.mark.parametrize(
    "url", ["https://github.com/some/book.git", "https://github.com/some/book", "git@github.com:some/book.git"]
)
def test_the_project_is_where_git_or_github_actions_say(url, tmp_path):
    assert published.repository({}, remote(tmp_path, url)) == "some/book"
    assert published.repository({"GITHUB_REPOSITORY": "other/fork"}, tmp_path) == "other/fork"


@pytest.mark.parametrize("url", ["/some/folder", "https://gitlab.com/some/book.git", "https://notgithub.com/some/book"])
def test_without_an_address_on_github_nothing_is_launched(url, tmp_path):
    assert published.repository({}, tmp_path) is None
    assert published.repository({}, remote(tmp_path, url)) is None
    assert about.launch("jamming", None) == []


def test_a_copy_inside_another_repository_is_not_that_repository(tmp_path):
    copy = remote(tmp_path, "https://github.com/me/thesis") / "copy"
    copy.mkdir()
    assert published.repository({}, copy) is None


@pytest.mark.parametrize(
    "environ, address",
    [
        ({}, ""),
        ({"GITHUB_REPOSITORY": "Some/book"}, "https://some.github.io/book/"),
        ({"GITHUB_REPOSITORY": "Some/some.github.io"}, "https://some.github.io/"),
        ({"GITHUB_REPOSITORY": "some/book", "BOOK_URL": "https://example.org/"}, "https://example.org/"),
        ({"BOOK_URL": "https://example.org/a"}, "https://example.org/a/"),
    ],
)
def test_the_address_of_the_book(environ, address):
    assert published.address(environ) == address


def texts(box: nodes.Node, kind: type) -> list[str]:
    return [node.astext() for node in box.findall(kind)]


@pytest.mark.parametrize("name", sorted(chapters(ROOT)))
def test_a_chapter_says_where_it_is_what_it_found_and_how_to_run_it(name):
    box = about.about(name, "conclusion.html", "rerun.html", "some/book")
    command, cell = texts(box, nodes.literal_block)
    assert command == f"lazyjam run {name} -o mine.ipynb"
    links = [node["refuri"] for node in box.findall(nodes.reference)]
    assert any(link.endswith(f"/v2/gh/some/book/HEAD?urlpath=lab/tree/book/{name}.ipynb") for link in links)
    decided = sum(claim.chapter == name for claim in claims().values())
    assert sum(map(int, re.findall(r"\d+(?= [a-z])", about.facts()[name][1]))) == decided
    assert ("conclusion.html#every-claim" in links) == (decided > 0)
    figure = re.match(r"fig0?(\d+)_", name)
    assert box.astext().startswith(f"Figure {figure[1]} of" if figure else ("Section", "The review"))


def test_the_sections_of_a_chapter_are_those_of_its_claims():
    places = {name: place for name, (place, *_) in about.facts().items()}
    assert places["jamming"] == "Section 2 of the review"
    assert places["lazy_and_feature"] == "Sections 1 and 4 of the review"
    assert places["first_network"] == "The review as a whole"


def test_the_table_of_verdicts_is_where_the_links_point():
    cells = json.loads((ROOT / "book/conclusion.ipynb").read_text())["cells"]
    headings = re.findall(r"^## (.*)$", "\n".join("".join(cell["source"]) for cell in cells), re.MULTILINE)
    assert about.SCORE in [heading.lower().replace(" ", "-") for heading in headings]


def test_the_cell_for_colab_fetches_the_project_and_shows_a_figure_that_the_chapter_writes():
    lines = about.CELL.format(repository="some/book", name="jamming").splitlines()
    shell = [line.lstrip("!").split() for line in lines if line.startswith("!")]
    assert shell[0][-2:] == ["https://github.com/some/book", "lazyjam"]
    program, *words = shell[-1]
    assert program == ".venv/bin/lazyjam"
    result = CliRunner().invoke(app, [*words, "--dry-run", "-p", "no_such_name", "1"])
    assert result.exit_code == 2 and "no_such_name" in result.output  # the chapter and the options are known
    assert (ROOT / re.search(r'"(.*)"', lines[-1])[1]).is_file()


def page(*paragraphs: str) -> nodes.document:
    from docutils.utils import new_document

    document = new_document("page")
    box = nodes.container("", nodes.paragraph("", "Not this."))
    image = nodes.image(uri="../figures/jamming.svg", alt='Four "panels".')
    document += nodes.section("", nodes.title("", "A title"), box, *(nodes.paragraph("", t) for t in paragraphs), image)
    return document


def test_a_link_to_a_page_shows_its_title_its_first_sentences_and_its_figure():
    tags = published.tags("A & B", page(r"Take \tilde\alpha. Not \sqrt h. And this."), "a.html", "https://x.org/")
    said = dict(re.findall(r'<meta \w+="([\w:]+)" content="([^"]*)" />', tags))
    assert said["og:title"] == "A &amp; B" and said["og:type"] == "article"
    assert said["og:description"] == said["description"] == "Take α̃. And this."
    assert said["og:image"] == "https://x.org/_images/jamming.png" and said["og:url"] == "https://x.org/a.html"
    assert said["og:image:alt"] == "Four &quot;panels&quot;." and said["twitter:card"] == "summary_large_image"


def test_a_page_without_an_address_names_no_picture():
    tags = published.tags("A", page("This."), "a.html", "")
    assert "og:title" in tags and "og:image" not in tags and "og:url" not in tags


def test_the_date_of_a_page_is_that_of_the_last_commit(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2021-02-03T12:00:00Z")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "--allow-empty", "-m", "first")
    assert published.git("log", "-1", "--format=%cs", folder=tmp_path) == "2021-02-03"


def test_a_verdict_is_framed_and_other_outputs_are_not():
    def shown(name):
        one = nodes.paragraph("", "", nodes.strong("", name), nodes.Text(": a claim."))
        two = nodes.paragraph("", "Expected 0, measured 1: ", nodes.strong("", "not reproduced"))
        return nodes.container("", one, two, mime_type="text/markdown")

    document = page("Text.")
    document += [shown("FIG4-A"), shown("Words")]
    verdicts.frame(None, document)
    framed = [node for node in document.findall(nodes.container) if "verdict" in node["classes"]]
    assert [node["classes"] for node in framed] == [["verdict", "verdict-1"]]
    assert framed[0].astext().startswith("FIG4-A") and framed[0].parent is not None


def test_the_extensions_are_those_that_the_book_loads():
    loaded = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["local_extensions"]
    assert {"about", "published", "verdicts"} <= set(loaded)


def test_whoever_computes_a_published_net_again_is_granted_the_gradients_it_took():
    cache = Cache(ROOT / "data_cache")
    costs = [cache.get(key).meta.get("cost", {}) for key in cache.keys()]
    assert 0 < max(cost.get("gradients", 0) for cost in costs) < MAX_GRADIENTS
