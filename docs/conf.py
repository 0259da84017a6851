"""Settings of the documentation site: `make docs` builds it."""

import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS.parent)]

import gpldan_jax  # noqa: E402

project = "gpldan_jax"
author = "gpldan_jax developers"
copyright = "gpldan_jax developers"
release = version = gpldan_jax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "docstrings",
    "generated_pages",
    "kept_notebooks",
    "mathml",
    "result_tables",
]
exclude_patterns = ["_build", "_kept"]
source_suffix = {".rst": "restructuredtext", ".kept.md": "myst-nb", ".md": "myst-nb"}
nitpicky = True
# The site is built offline, so names of other libraries have no pages to link to; `docstrings` lists them.
default_role = "code_or_link"

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
maximum_signature_line_length = 90

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

os.environ.setdefault(
    "JAX_DISABLE_MOST_OPTIMIZATIONS", "True"
)  # cells compile in half the time; their figures are small
# The notebooks that take seconds are run by each build; `kept_notebooks` has the outputs of the others.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_in_temp = True
nb_merge_streams = True

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = "gpldan_jax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["scroll.js"]
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
