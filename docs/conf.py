"""How Sphinx builds these pages: `make docs`."""

import hashlib
import os
import re
import sys
from importlib.metadata import version as installed
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "src"))


def digest() -> str:
    """Of the library's source: what was run with another one is run again."""
    found = hashlib.sha256()
    for path in sorted((ROOT / "src").rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:12]


KEPT = ROOT / "build" / "documented" / digest()
(KEPT / "pages").mkdir(parents=True, exist_ok=True)

project = "StableStep"
author = "StableStep developers"
version = release = installed("stablestep")
language = "en"
html_show_copyright = False

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["static"]
suppress_warnings = ["mystnb.unknown_mime_type"]
html_theme = "furo"
html_title = f"StableStep {release}"
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
copybutton_exclude = ".linenos, .gp, .go"

# Pages that live elsewhere in the repository, and where they stand here.
ELSEWHERE = {
    "CHANGELOG.md": "generated/changelog.md",
    "CONTRIBUTING.md": "generated/contributing.md",
    "benchmarks/README.md": "generated/benchmarks.md",
}
html_extra_path = [str(KEPT / "pages")]

# Tutorials run when they, or the library, have changed.
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 180
nb_execution_show_tb = True
nb_merge_streams = True
nb_output_stderr = "remove"  # the compiler's remarks on slow machines
os.environ["PYTHONPATH"] = str(ROOT / "src")
nb_execution_cache_path = str(KEPT / "notebooks")

# The API, from docstrings: plain sentences with mathematics in them, not reStructuredText.
default_role = "code"
autodoc_default_options = {"members": True, "member-order": "groupwise"}
autodoc_inherit_docstrings = False
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Args", "params_style"), ("Attributes", "params_style")]
toc_object_entries_show_parents = "hide"

_CODE = re.compile(r"(``.*?``|`[^`]+`)")
_MARKS = re.compile(r"([*|]|(?<=\w)_(?!\w))")
_NUMBERED = re.compile(r"^(\s*(?:[\w ,]+: )?[^\W\d])\.(?=\s|$)")
_LINE = re.compile(r"(\s*(?:[*-] )?)(.*)")


def plain(app, what, name, thing, options, lines):
    """What reStructuredText would take for its own marks, |x| and x_ and a line that starts with "d.", stays what it is; so does code."""
    found, example, fenced = [], False, False
    for line in lines:
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if line.lstrip().startswith("```"):
            fenced = not fenced
            found += [".. code-block:: python", ""] if fenced else [""]
        elif fenced or example:
            found.append("   " + line if fenced else line)
        else:
            found.append(escaped(line))
    lines[:] = found


def escaped(line):
    bullet, words = _LINE.fullmatch(line).groups()
    parts = _CODE.split(words)
    parts[::2] = [_MARKS.sub(r"\\\1", part) for part in parts[::2]]
    return _NUMBERED.sub(r"\1\\.", bullet + "".join(parts))


def shapes(app, what, name, thing, options, signature, returned):
    """Arrays by their shapes alone: Float[Array, "d"]."""
    return tuple(text and re.sub(r"\bjaxlib\._jax\.|\bnumpy\.|~typing\.", "", text) for text in (signature, returned))


def take_in(app):
    """Pages from elsewhere in the repository, each under one title, and the page to explore."""
    for source, place in ELSEWHERE.items():
        first, *rest = re.split(r"^# ", (ROOT / source).read_text(encoding="utf-8"), flags=re.M)[1:]
        (HERE / place).parent.mkdir(exist_ok=True)
        (HERE / place).write_text("# " + "## ".join([first, *rest]), encoding="utf-8")
    page = KEPT / "pages" / "explore.html"
    if not page.exists():
        page.write_text(explorer(), encoding="utf-8")


def explorer():
    """What `stablestep explore examples/dcsgd.toml` writes."""
    from stablestep.explore import explore
    from stablestep.spec import load

    described = load(ROOT / "examples" / "dcsgd.toml", to_run=False)
    return explore(described.setup, described.run["x0"], described.run["seed"], yes=True)


def point(app, docname, source):
    """Links to a page from elsewhere lead to where it stands here, and its own links to where their targets do."""
    home = next((where for where, place in ELSEWHERE.items() if place == f"{docname}.md"), f"docs/{docname}.md")
    up = "../" * docname.count("/")

    def moved(match):
        path, anchor = match[1], match[2] or ""
        target = os.path.normpath(os.path.join(os.path.dirname(home), path))
        if target in ELSEWHERE:
            return f"]({up}{ELSEWHERE[target]}{anchor})"
        page = target.startswith("docs/") and (ROOT / target).exists()
        return f"]({up}{target.removeprefix('docs/')}{anchor})" if page else match[0]

    source[0] = re.sub(r"\]\((?!\w+:)([^)#\s]+)(#[^)]*)?\)", moved, source[0])


def setup(app):
    app.connect("builder-inited", take_in)
    app.connect("source-read", point)
    app.connect("autodoc-process-docstring", plain, priority=400)
    app.connect("autodoc-process-signature", shapes)
