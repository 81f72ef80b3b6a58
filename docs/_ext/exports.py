"""The directive ``exports``: a table of the names that the package exports, each with its gist."""

from __future__ import annotations

import inspect

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import vocalsep_async


class _Exports(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        names = [name for name in vocalsep_async.__all__ if not name.startswith("_")]
        rows = [line for name in names for line in (f"   * - `{name}`", f"     - {_gist(name)}")]
        text = [".. list-table::", "   :widths: auto", "", *rows]
        return self.parse_text_to_nodes("\n".join(text))


def _gist(name: str) -> str:
    value = getattr(vocalsep_async, name)
    if not inspect.isclass(value):
        return f"a `{type(value).__mro__[-2].__name__}`"
    return " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directive known."""
    app.add_directive("exports", _Exports)
    return {"parallel_read_safe": True}
