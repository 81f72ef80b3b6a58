"""The site: ``nox -s site`` builds it from the source distribution, and tells what does not fit.

Nothing is fetched while it is built: `_ext/external.py` has the addresses of other projects' names.
"""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

_EXTENSIONS = Path(__file__).parent / "_ext"
sys.path.insert(0, str(_EXTENSIONS))

project = "vocalsep-async"
author = "The vocalsep-async developers"
project_copyright = author
release = version = version_of(project)

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    *(path.stem for path in sorted(_EXTENSIONS.glob("*.py"))),
]
exclude_patterns = ["_ext"]

# A name in single backticks in a docstring leads to its entry; one that has none is an error.
default_role = "py:name"
nitpicky = True
nitpick_ignore = [
    # The secrets of a key, as its type names them: users pass the key.
    ("py:class", "vocalsep_async._signing.Secrets"),
]

# Texts name options, such as --key-file, and have their quotation marks on purpose.
smartquotes = False
add_module_names = False
# These are large, and their names are no part of what is documented here.
autodoc_mock_imports = ["airflow", "temporalio"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
python_maximum_signature_line_length = 80

myst_heading_anchors = 4

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"{project} {release}"
html_show_sphinx = False
html_copy_source = False
