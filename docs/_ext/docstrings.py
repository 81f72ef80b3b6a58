"""Docstrings in Google's style, as this package writes them.

Sphinx's own extension for them takes the words before a colon for a type, in the text of an
attribute and after ``Returns:``; here the annotations are the types, and a colon is text. It also
lists what a class says about its attributes apart from their entries; here each gets its text.

A name in single backticks is one of this package, looked for in its class and its module first. The
path of a page leads to it.
"""

from __future__ import annotations

import inspect
import re
import sys
from typing import Any

from docutils.nodes import Element
from sphinx.application import Sphinx
from sphinx.domains.python import PyXRefRole
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.pycode import ModuleAnalyzer

_SETTINGS = Config()
_PAGE = re.compile(r"\b(docs/([\w/-]+))\.md")
_ATTRIBUTES: dict[str, list[str]] = {}
"""What classes say about their attributes; autodoc reads a class before its members."""


class _Docstring(GoogleDocstring):
    owner: type | None = None

    def _consume_returns_section(
        self,
        preprocess_types: bool = False,  # noqa: ARG002, FBT001, FBT002
    ) -> list[tuple[str, str, list[str]]]:
        lines = self._dedent(self._consume_to_next_section())
        return [("", "", lines)] if any(lines) else []

    def _parse_attributes_section(self, section: str) -> list[str]:
        del section
        kept: list[str] = []
        for name, _, text in self._consume_fields():
            if self._has_entry(name):
                _ATTRIBUTES[f"{self._name}.{name}"] = text
            else:
                kept += [f".. attribute:: {name}", "", *self._indent(text, 3), ""]
        return kept

    def _has_entry(self, attribute: str) -> bool:
        cls = self._obj
        if not inspect.isclass(cls):
            return False
        return attribute in vars(cls) or (cls.__qualname__, attribute) in _annotated(cls.__module__)


def _read(  # noqa: PLR0917
    app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]
) -> None:
    del app
    lines += _ATTRIBUTES.get(name, [])
    if what == "module":
        lines[:0] = [f"Module ``{name}``.", ""]
    if what == "data" and (text := _where_defined(name.rpartition(".")[2], obj)):
        lines[:] = text
    # To the base class an attribute is a type and a text, and has no sections.
    kind = "method" if what in {"attribute", "data", "property"} else what
    read = _Docstring(lines, _SETTINGS, None, kind, name, obj, options).lines()
    lines[:] = [_PAGE.sub(r":doc:`\1.md </\2>`", line) for line in read]


def _skip(app: Sphinx, what: str, name: str, *_rest: object) -> bool | None:
    """Show all public members of a class: also their names and types say much."""
    del app
    return False if what in {"class", "exception"} and not name.startswith("_") else None


def _annotated(module: str) -> dict[tuple[str, str], str]:
    """The annotations in a module, by class and attribute."""
    source = ModuleAnalyzer.for_module(module)
    source.analyze()
    return source.annotations


def _where_defined(name: str, value: object) -> list[str]:
    """The text below a value; where it is only imported, autodoc has that of its class."""
    for module in [each for each in sys.modules if each.startswith("vocalsep_async.")]:
        if getattr(sys.modules[module], name, None) is value:
            source = ModuleAnalyzer.for_module(module)
            source.analyze()
            if text := source.attr_docs.get(("", name)):
                return text
    return []


class _Name(PyXRefRole):
    def process_link(
        self,
        env: BuildEnvironment,
        refnode: Element,
        has_explicit_title: bool,  # noqa: FBT001
        title: str,
        target: str,
    ) -> tuple[str, str]:
        title, target = super().process_link(env, refnode, has_explicit_title, title, target)
        refnode["reftype"], refnode["refspecific"] = "obj", True
        return title, target


def setup(app: Sphinx) -> dict[str, bool]:
    """Read each docstring that autodoc finds."""
    app.add_role_to_domain("py", "name", _Name())
    app.connect("autodoc-process-docstring", _read)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": False}
