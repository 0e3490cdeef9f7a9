"""The documentation site: `python -m sphinx -W --keep-going -b html docs docs/_build`. Nothing is fetched."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from l2tune import __version__  # noqa: E402

project = "l2tune"
author = "the l2tune developers"
copyright = "the l2tune developers"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "docstrings",
    "generated",
    "mathml",
    "measurements",
    "offline",
]
exclude_patterns = ["_build", "_ext", "_static", "cluster", "examples", "how-it-works/tables"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4

default_role = "code"  # docstrings write `name` as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types in signatures; links of pages are not `py:`

pygments_dark_style = "github-dark"

html_theme = "furo"
html_title = f"l2tune {version}"
html_static_path = ["_static"]
html_css_files = ["l2tune.css"]
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6aa8", "color-brand-content": "#0b6aa8"},
    "dark_css_variables": {"color-brand-primary": "#56b4e9", "color-brand-content": "#56b4e9"},
}
copybutton_exclude = ".linenos, .gp, .go"
