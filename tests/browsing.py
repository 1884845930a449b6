"""The book in a browser: built without execution but for the conclusion, served from here, and read page by page."""

import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
TOC = yaml.safe_load((ROOT / "book/_toc.yml").read_text())
PAGES = [TOC["root"], *(page["file"] for part in TOC["parts"] for page in part["chapters"])]

FACTS = """() => {
  const all = query => [...document.querySelectorAll(query)], place = one => one.outerHTML.slice(0, 120);
  const words = document.querySelector("main").cloneNode(true);
  words.querySelectorAll("pre, code, script, style, annotation").forEach(one => one.remove());
  return {
    anchors: all("[id]").map(one => one.id),
    links: all("a[href]").map(one => one.href),
    images: all("img").map(one => ({place: place(one), alt: one.alt, broken: !one.complete || !one.naturalWidth})),
    raw: words.textContent.match(/\\\\[(\\[]|\\$[^$\\n]+\\$/g) ?? [],
    formulas: all(".math").map(one => {
      const formula = one.querySelector(":scope > math"), wide = formula?.getBoundingClientRect().width > 0;
      const cut = formula?.getBoundingClientRect().left < one.getBoundingClientRect().left - 1;
      return {place: place(one), letters: formula?.textContent, typeset: wide && !formula.querySelector("merror"), cut};
    }),
    footer: document.querySelector("footer.bd-footer-content")?.textContent ?? "",
    width: document.scrollingElement.scrollWidth,
    unreachable: all("main *").filter(one => one.scrollWidth > one.clientWidth + 1 && one.tabIndex < 0
      && /auto|scroll/.test(getComputedStyle(one).overflowX) && one.checkVisibility()
      && !one.querySelector("a, button, [tabindex='0']")).map(place),
  };
}"""

# A chapter has thousands of coloured words of code, of a dozen colours: one word of each is looked at.
FEWER_WORDS = """() => {
  const seen = new Set();
  for (const one of document.querySelectorAll(".highlight span, dl.py")) {
    const kind = one.className + (one.closest(".cell_input, .cell_output, .admonition")?.className ?? "");
    if (seen.has(kind)) one.replaceWith(one.matches("span") ? one.textContent : "");
    seen.add(kind);
  }
}"""

# What is the same on all pages, and formulas, whose colour is that of the text, are looked at where `everything` is.
AXE = """async ([everything, rules]) => {
  const options = {resultTypes: ["violations"], preload: false, ...(rules ? {runOnly: rules} : {})};
  const context = everything ? document : {exclude: [["math"], [".bd-sidebar-primary"], [".bd-header-article"]]};
  const found = (await axe.run(context, options)).violations;
  return found.filter(one => ["serious", "critical"].includes(one.impact)).flatMap(one => one.nodes.map(node =>
    `${one.id}: ${node.html.slice(0, 120)} ${node.failureSummary.split("\\n")[1].trim()}`));
}"""


def chromium() -> str | None:
    """Path of an installed Chromium: of the system, or the one that Playwright has brought."""
    from playwright.sync_api import sync_playwright

    found = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    if not found:
        with sync_playwright() as playwright:
            own = playwright.chromium.executable_path
        found = [own] if Path(own).exists() else []
    return found[0] if found else None


def build(folder: Path) -> Path:
    """Build the book strictly from a copy in `folder`, so that nothing here changes, and return where its pages are."""
    for name in ("book", "figures"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("data_cache", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    left = [path.name for path in (ROOT / "book").glob("*.ipynb") if path.stem != "conclusion"]
    config["execute"] |= {"execute_notebooks": "force", "exclude_patterns": left}
    (folder / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False))
    tool, options = Path(sys.executable).with_name("jupyter-book"), ["-W", "-n", "--keep-going", "--all"]
    command = [tool, "build", "book", "--config", "_config.yml", "--path-output", ".", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return folder / "_build/html"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def served(folder: Path):
    """The address at which `folder` can be read."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    server.handle_error = lambda *_: None  # a page that is left breaks off what it has asked for
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
