"""What the theme ships and no page of the book uses is left out of the built pages.

Rules of a style sheet go whose classes stand in no page and in no script, and so do icons. The script of 1.5 MB that
would draw the icons is emptied: the font that the style sheet names has them, too. References lose the role of a list,
which docutils gives them, because their children are no items of a list.
"""

import re
from pathlib import Path

from fontTools import subset

RULE = re.compile(r"([^{}@;]+)\{([^{}]*)\}")


def lighten(app, exception):
    if exception is None and app.builder.format == "html":
        static = Path(app.outdir) / "_static"
        (static / "scripts/fontawesome.js").write_text("// the icons are those of a font\n")
        scripts = [path for path in static.rglob("*.js") if "plotly" not in path.parts]
        pages = list(Path(app.outdir).glob("*.html"))
        for page in pages:
            text = page.read_text(encoding="utf-8")
            page.write_text(text.replace('<div role="list" class="citation-list">', "<div>"), encoding="utf-8")
        texts = [path.read_text(encoding="utf-8") for path in [*pages, *scripts]]
        used = set(re.findall(r"[\w-]+", " ".join(texts)))
        for path in static.rglob("*.css"):
            path.write_text(without(path.read_text(encoding="utf-8"), used), encoding="utf-8")
        keep_icons(static)


def without(css: str, used: set[str]) -> str:
    """The style sheet less the selectors of a class that is not `used`, the comments, and the icons' larger formats."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    css = re.sub(r'url\([^)]*\.woff2\) format\("woff2"\),(?=url\([^)]*\.ttf\))', "", css)

    def needs(selector):
        return re.findall(r"\.([A-Za-z-][\w-]*)", re.sub(r":\w+\([^()]*\)|\[[^\]]*\]", "", selector))

    def rule(found):
        wanted = [one for one in re.split(r",(?![^(\[]*[)\]])", found[1]) if used.issuperset(needs(one))]
        return f"{','.join(wanted)}{{{found[2]}}}" if wanted else ""

    return RULE.sub(rule, css)


def keep_icons(static: Path) -> None:
    """The icon fonts with the icons of the style sheet that are left."""
    css = "".join(path.read_text(encoding="utf-8") for path in static.rglob("pydata-sphinx-theme.css"))
    characters = ",".join(set(re.findall(r'"\\([ef][0-9a-f]{3})"', css)))
    for font in static.rglob("fa-*.ttf"):
        subset.main([str(font), f"--unicodes={characters}", f"--output-file={font}"])


def setup(app):
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
