"""Where the book is published, as far as that is known when it is built, and what follows from it for every page.

The date of the last commit, the canonical address, and the tags that a link to the page is shown with elsewhere. The
project does not know its own address, so that a fork publishes itself: it is taken from GitHub Actions, or from git.
"""

import os
import re
import subprocess
from html import escape
from pathlib import Path
from shutil import copyfile

from docutils import nodes

ROOT = Path(__file__).parents[2]
FRONT = "fig04_phase_diagram"  # the picture of a page that has none
LONGEST = 200  # of a description, in characters


def git(*words: str, folder: Path = ROOT) -> str:
    """What git says, "" where there is no git or `folder` is no repository: that of a folder above is another one."""
    alone = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.resolve().parent)}
    try:
        return subprocess.run(["git", *words], cwd=folder, env=alone, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def repository(environ=os.environ, folder: Path = ROOT) -> str | None:
    """OWNER/REPO on GitHub, by GITHUB_REPOSITORY or the remote `origin`; None where neither says so."""
    remote = re.fullmatch(r"(?:https://|(?:ssh://)?git@)github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?",
                          git("remote", "get-url", "origin", folder=folder))  # fmt: skip
    return environ.get("GITHUB_REPOSITORY") or (remote[1] if remote else None)


def address(environ=os.environ) -> str:
    """Of the published book: BOOK_URL, for a domain of one's own, or that of GitHub Pages for GITHUB_REPOSITORY."""
    owner, _, name = environ.get("GITHUB_REPOSITORY", "").partition("/")
    pages = f"https://{owner.lower()}.github.io/" + (f"{name}/" if name.lower() != f"{owner.lower()}.github.io" else "")
    known = environ.get("BOOK_URL") or (pages if name else "")
    return known and known.rstrip("/") + "/"


def configure(app, config):
    config.html_baseurl = address()
    if date := git("log", "-1", "--format=%cs"):  # the same book on every day
        config.html_last_updated_fmt = date


def description(doctree: nodes.document) -> str:
    """The first sentences of a page. Those with a formula that is no letter are left out."""
    texts = (node.astext() for node in doctree.findall(nodes.paragraph) if isinstance(node.parent, nodes.section))
    said = ""
    for sentence in re.split(r"(?<=[.?!])\s+", " ".join(next(texts, "").split()).replace(r"\tilde\alpha", "α̃")):
        if "\\" not in sentence and len(said) + len(sentence) < LONGEST:
            said = f"{said} {sentence}".strip()
    return said


def picture(doctree: nodes.document) -> tuple[str, str]:
    """The name of the first figure of a page that is in figures/, and what is to be seen there in words."""
    shown = ((Path(image["uri"]).stem, image.get("alt", "")) for image in doctree.findall(nodes.image))
    return next((found for found in shown if (ROOT / f"figures/{found[0]}.png").is_file()), (FRONT, ""))


def tags(title: str, doctree: nodes.document, page: str, base: str) -> str:
    """The tags of Open Graph, which needs complete addresses: without a `base` there is no picture."""
    said, (name, alt) = description(doctree), picture(doctree)
    known = {"og:title": title, "og:type": "article", "og:site_name": "lazyjam", "og:description": said}
    if base:
        known |= {"og:url": f"{base}{page}", "og:image": f"{base}_images/{name}.png", "og:image:alt": alt}
    named = {"description": said, "twitter:card": "summary_large_image" if base else "summary"}
    pairs = [("property", known), ("name", named)]
    return "\n".join(f'<meta {kind}="{key}" content="{escape(value)}" />'
                     for kind, of in pairs for key, value in of.items() if value)  # fmt: skip


def add_tags(app, pagename, templatename, context, doctree):
    if doctree is not None:
        title, page = app.env.titles[pagename].astext(), app.builder.get_target_uri(pagename)
        context["metatags"] = context.get("metatags", "") + tags(title, doctree, page, app.config.html_baseurl)


def copy_pictures(app, exception):
    """Who shows a link wants pixels, and the pages show vectors."""
    if exception is None and app.builder.format == "html" and app.config.html_baseurl:
        for path in (ROOT / "figures").glob("*.png"):
            copyfile(path, Path(app.outdir) / "_images" / path.name)


def setup(app):
    app.connect("config-inited", configure)
    app.connect("html-page-context", add_tags)
    app.connect("build-finished", copy_pictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
