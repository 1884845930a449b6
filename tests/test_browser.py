"""The pages as a browser shows them: light and dark, wide and narrow, by pointer and by keys.

Every page is visited once, and what is found there is kept for the tests, whose failures name page and offender.
"""

import re
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from browsing import AXE, FACTS, FEWER_WORDS, PAGES, ROOT, build, chromium, served
from fontTools.ttLib import TTFont

from lazyjam.interactive import PLOTLY, neurons

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e .[test]")
base = pytest.importorskip("axe_playwright_python.base", reason="axe-core is not installed: pip install -e .[test]")

WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
STILL = "*, ::before, ::after { transition: none !important; }"  # colours on their way are those of no mode
CHOSEN = ("intro", "fig04_phase_diagram", "conclusion")  # where all is looked at twice


@pytest.fixture(scope="module")
def browser():
    if not (path := chromium()):
        pytest.skip("no Chromium is found: apt-get install chromium, or playwright install chromium")
    with sync_api.sync_playwright() as playwright:
        yield (started := playwright.chromium.launch(executable_path=path, args=["--no-sandbox"]))
        started.close()


@pytest.fixture(scope="module")
def html(browser, tmp_path_factory):
    """Folder of the built pages, and in it a page with the film that a chapter shows when it is executed."""
    folder = build(tmp_path_factory.mktemp("book"))
    numbers = np.array([[[1, 0, 0, 2], [0, 1, 0, 1]], [[4, 0, 0, -3], [0, 1, 0, 1]]], dtype=float)
    story = xr.DataArray(numbers, dims=("level", "neuron", "number"), coords={"level": [1.0, 0.1]})
    film = neurons(np.array([[1.0, 2.0], [-3.0, 0.0]]), np.array([1.0, -1.0]), story).html()
    page = (folder / "intro.html").read_text(encoding="utf-8")
    changed = re.sub(r'<div class="interactive".*?</script>\n</div>', lambda _: film, page, flags=re.DOTALL)
    (folder / "film.html").write_text(changed, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def address(html):
    with served(html) as place:
        yield place


@pytest.fixture
def page(browser, address):
    """A fresh page of a wide screen, whose addresses are those of the book."""
    context = browser.new_context(viewport=WIDE, base_url=address, reduced_motion="reduce")
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def visits(browser, address):
    """By page: what was requested and complained of, the facts of the page, and what axe finds, light and dark."""
    context, found = browser.new_context(viewport=NARROW, base_url=address), {}
    for name in PAGES:
        page = context.new_page()
        here = found[name] = {"requests": set(), "complaints": []}
        page.on("request", lambda request, here=here: here["requests"].add(request.url))
        page.on("requestfailed", lambda request, here=here: here["complaints"].append(f"failed: {request.url}"))
        page.on("pageerror", lambda error, here=here: here["complaints"].append(str(error)))
        page.on("console", lambda said, here=here: said.type == "error" and here["complaints"].append(said.text))
        page.goto(f"{name}.html")
        here |= page.evaluate(FACTS)
        page.evaluate(base.AXE_SCRIPT)
        page.add_style_tag(content=STILL)
        page.evaluate(FEWER_WORDS)
        full = name in CHOSEN
        here["light"] = page.evaluate(AXE, [True, None]) if full else []
        page.set_viewport_size(WIDE)
        here["light"] += page.evaluate(AXE, [full, None])
        page.evaluate("Object.assign(document.documentElement.dataset, {mode: 'dark', theme: 'dark'})")
        here["dark"] = page.evaluate(AXE, [full, None if full else ["color-contrast"]])
        if full:
            page.set_viewport_size(NARROW)
            here["dark"] += page.evaluate(AXE, [True, ["color-contrast"]])
        page.close()
    context.close()
    return found


def nothing(visits, what):
    """Asserts that `what(facts)` is empty for every page, or says page and offender, one a line."""
    lines = [f"{name}: {one}" for name, facts in visits.items() for one in what(facts)]
    assert not lines, "\n" + "\n".join(lines)


def test_nothing_comes_from_another_host_and_nothing_fails(visits, address):
    nothing(visits, lambda one: [url for url in one["requests"] if not url.startswith((address, "data:"))])
    nothing(visits, lambda one: one["complaints"])


def test_every_link_inside_the_book_leads_somewhere(visits, html, address):
    def lost(facts):
        return [link for link in facts["links"] if link.startswith(address) and not leads(link.removeprefix(address))]

    def leads(link):
        path, anchor = map(unquote, urldefrag(link))
        if not (html / path).is_file():
            return False
        if not anchor or not path.endswith(".html"):
            return True
        name = path.removesuffix(".html")
        there = visits[name]["anchors"] if name in visits else re.findall(r'\bid="([^"]*)"', (html / path).read_text())
        return anchor in there

    assert sum(link.startswith(address) for facts in visits.values() for link in facts["links"]) > 500
    nothing(visits, lost)
    outside = {link for facts in visits.values() for link in facts["links"] if not link.startswith(address)}
    assert outside and all(urlsplit(link).scheme == "https" and "." in urlsplit(link).netloc for link in outside)


def test_every_image_is_there_and_says_what_is_to_be_seen(visits):
    assert sum(len(facts["images"]) for facts in visits.values()) > 40
    nothing(visits, lambda one: [image for image in one["images"] if image["broken"]])
    generic = re.compile(r"(?i)(image|figure|picture|plot|\S+\.(svg|png))\b.{0,20}")

    def poor(alt):
        return len(alt.split()) < 5 or generic.fullmatch(alt)

    nothing(visits, lambda one: [image for image in one["images"] if poor(image["alt"])])


def test_every_formula_is_typeset(visits, html):
    assert sum(len(facts["formulas"]) for facts in visits.values()) > 1000
    nothing(visits, lambda one: one["raw"])
    nothing(visits, lambda one: [formula for formula in one["formulas"] if not formula["typeset"] or formula["cut"]])
    known = set(map(chr, TTFont(html / "_static/formulas.woff").getBestCmap())) | set("\n\u2061")
    nothing(visits, lambda one: set("".join(formula["letters"] for formula in one["formulas"])) - known)


def test_a_phone_scrolls_downwards_only_and_keys_move_what_is_wider(visits):
    nothing(visits, lambda one: [one["width"]] if one["width"] > NARROW["width"] else [])
    nothing(visits, lambda one: one["unreachable"])


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_nothing_serious(visits, mode):
    nothing(visits, lambda one: one[mode])


def test_version_and_date_stand_on_every_page(visits):
    wanted = re.compile(rf"Last updated on \d{{4}}-\d\d-\d\d.*lazyjam {re.escape(version('lazyjam'))}\s", re.DOTALL)
    nothing(visits, lambda one: [] if wanted.search(one["footer"]) else [one["footer"]])


def test_no_page_is_heavy(visits, html, address):
    def weight(facts):
        files = {unquote(urlsplit(url).path).lstrip("/") for url in facts["requests"] if url.startswith(address)}
        return sum((html / file).stat().st_size for file in files - {PLOTLY})

    weights = pd.Series({name: weight(facts) for name, facts in visits.items()}).sort_values() // 1000
    assert weights.max() < 1000, f"kilobytes of each page without plotly:\n{weights.to_string()}"
    assert weights.min() > 100, "a page without its style sheets was weighed"


def test_the_front_page_can_be_read_within_a_second(browser, address):
    seconds = []
    for _ in range(3):  # the fastest, because the machine has other work
        context = browser.new_context(viewport=WIDE, base_url=address)
        page = context.new_page()
        page.goto("intro.html")
        page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
        seconds.append(page.evaluate("""Math.max(performance.getEntriesByType("navigation")[0].loadEventStart,
            performance.getEntriesByName("first-contentful-paint")[0].startTime) / 1000"""))
        assert page.evaluate("document.querySelector('figure img').complete")
        context.close()
    assert min(seconds) < 1, seconds


def focus(page):
    """What has the focus: its words or its name, and whether the focus is seen."""
    return page.evaluate("""() => {
      const one = document.activeElement, box = one.getBoundingClientRect(), look = getComputedStyle(one);
      const shown = look.outlineStyle !== "none" && parseFloat(look.outlineWidth) > 0 || look.boxShadow !== "none";
      return {words: (one.ariaLabel || one.textContent).trim(), within: one.closest("nav")?.className ?? "",
              seen: shown && box.width > 0 && box.top >= 0 && box.bottom <= innerHeight + 1};
    }""")


def test_keys_reach_the_text_the_search_the_navigation_and_the_diagram(page):
    page.goto("intro.html")
    page.keyboard.press("Tab")
    page.wait_for_timeout(300)  # it slides in
    assert focus(page) == {"words": "Skip to main content", "within": "", "seen": True}
    reached = []
    while not reached or reached[-1]["words"] != "Read off every cell (loads 4.5 MB)":
        page.keyboard.press("Tab")
        reached.append(focus(page))
        assert len(reached) < 100, [one["words"] for one in reached]
    assert not [one["words"] for one in reached if not one["seen"]]
    words = [one["words"] for one in reached]
    search, chapter = next(i for i, one in enumerate(words) if "Search" in one), words.index("One network, watched")
    assert search < chapter and "bd-links" in reached[chapter]["within"]
    page.keyboard.press("Enter")
    page.wait_for_selector("#plotly-phase-diagram .main-svg")
    assert page.evaluate("document.activeElement.tagName") == "SELECT" and focus(page)["seen"]
    page.keyboard.press("ArrowDown")
    page.wait_for_function("document.getElementById('plotly-phase-diagram').data[1].visible === true")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.wait_for_function("document.querySelector('#plotly-phase-diagram .cbtitle').textContent == 'kernel change'")


def test_the_skip_link_and_the_button_of_the_theme(page):
    page.goto("fig04_phase_diagram.html")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.url.endswith("#main-content")
    for _ in range(3):  # automatic, light, dark
        page.locator(".theme-switch-button:visible").first.click()
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
    look = page.evaluate("""() => {
      const image = getComputedStyle(document.querySelector("figure img"));
      return [getComputedStyle(document.body).backgroundColor, image.backgroundColor, image.filter];
    }""")
    assert sum(map(int, re.findall(r"\d+", look[0])[:3])) < 100, "the page is dark"
    assert look[1:] == ["rgb(255, 255, 255)", "none"], "figures keep a light ground, because their lines are dark"


def test_the_search_finds_jamming_and_leads_to_its_chapter(page):
    page.goto("intro.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("jamming")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=jamming*")
    result = page.locator("#search-results ul.search a", has_text=re.compile("^The jamming transition$"))
    result.first.click()
    page.wait_for_url("**/jamming.html*")
    assert "The jamming transition" in page.locator("article h1").inner_text()


@pytest.mark.parametrize("chosen, dataset", [(0, "mnist"), (1, "cifar10")])
def test_the_pointer_reads_the_numbers_of_the_table(page, chosen, dataset):
    cells = pd.read_csv(ROOT / "figures/fig04_phase_diagram.csv")
    cells = cells[cells.dataset.str.startswith(dataset) & cells.error.notna()].reset_index()
    page.goto("intro.html")
    page.get_by_role("button", name="Read off every cell").click()
    page.get_by_label("data set").select_option(index=chosen)
    plot = page.locator("#plotly-phase-diagram")
    plot.scroll_into_view_if_needed()
    for _, cell in cells.iloc[[0, len(cells) // 2, -1]].iterrows():
        x, y = plot.evaluate("""(one, [h, scale]) => {
          const {xaxis, yaxis} = one._fullLayout, box = one.getBoundingClientRect();
          return [box.x + xaxis._offset + xaxis.d2p(h), box.y + yaxis._offset + yaxis.d2p(scale)];
        }""", [int(cell.h), float(cell.alpha_tilde)])  # fmt: skip
        page.mouse.move(x - 1, y - 1)
        page.mouse.move(x, y)
        said = plot.locator(".hovertext")
        said.filter(has_text=f"h = {cell.h}, α̃ = {cell.alpha_tilde:g}, P = {cell.P}").wait_for(timeout=5000)
        for part in (f"{cell.M} of {cell.nets} nets fit", f"test error of their mean: {cell.error:.1%}",
                     f"change of the kernel: {cell.kernel_ratio:.2g}", f"unsatisfied: {cell.unsatisfied:.1%}"):
            assert part in said.text_content(), (dataset, cell.to_dict())


def test_the_film_moves_by_keys(page):
    page.goto("film.html")
    page.get_by_role("button", name="Watch the neurons").press("Enter")
    film = page.locator("#plotly-neurons")
    page.wait_for_selector("#plotly-neurons .main-svg")
    assert film.evaluate("one => [...one._fullData[2].x]") == [3, 0]
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.getElementById('plotly-neurons')._fullData[2].y[1] === 0.25")
    assert page.get_by_label("loss / first loss:").get_attribute("aria-valuetext") == "0.1"
    page.evaluate(base.AXE_SCRIPT)
    assert not page.evaluate(AXE, [True, None])


def test_the_table_of_claims_is_filtered_on_a_phone(page):
    page.set_viewport_size(NARROW)
    page.goto("conclusion.html")
    status = page.locator(".scorecard [role=status]")
    everything = status.inner_text()
    page.get_by_label("Search", exact=True).last.fill("FIG4-A")
    assert status.inner_text() != everything
    assert page.locator(".scorecard tbody tr:visible").count() == int(status.inner_text().split()[0]) >= 1
    assert page.evaluate("document.scrollingElement.scrollWidth") <= NARROW["width"]


def test_what_is_left_out_is_no_style_of_a_page(html):
    css = (html / "_static/styles/pydata-sphinx-theme.css").read_text()
    assert ".fa-bars" in css and ".fa-sun" in css and ".fa-dragon" not in css
    icons = TTFont(next(html.rglob("fa-solid-900.ttf"))).getBestCmap()
    used = re.findall(r"\.fa-(?:bars|sun|moon|expand):before\{content:\"\\([0-9a-f]+)\"", css)
    assert len(used) == 4 and all(int(code, 16) in icons for code in used)
    assert Path(html / "_static/scripts/fontawesome.js").stat().st_size < 100
