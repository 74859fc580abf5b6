"""How Sphinx builds the user guide; nothing is fetched from the network."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
# The guide describes the code beside it, whichever copy is installed.
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent)]

from psfmatch_cli.version import __version__  # noqa: E402

project = "psfmatch"
author = "psfmatch developers"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx_click",
    "mathml",
    "from_code",
    "names_in_code",
    "option_sections",
]
exclude_patterns = ["_build", "_extensions"]
nitpicky = True
# Types in signatures that have no page here; what stands in the text of a page is always checked.
nitpick_ignore_regex = [
    ("py:.*", r"(numpy|np|astropy|pydantic|fits|collections|pathlib|logging)(\..*)?"),
    ("py:.*", r"Any|ArrayLike|Callable|Card|Iterable|Iterator|Literal|NDArray|Path|Search|Sequence|Table|WCS"),
    ("py:.*", r"Mapping(\[.*)?|BackgroundFit|DifferenceSourceConfig|Direction"),
]
smartquotes = False
default_role = "py:obj"
highlight_language = "none"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autosummary_generate = False
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = f"psfmatch {__version__}"
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": [],
    "footer_end": [],
    "header_links_before_dropdown": 6,
}
