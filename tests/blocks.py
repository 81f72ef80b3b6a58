"""Python blocks of pages and docstrings, made ready to run as they stand.

A page may say in hidden comments above a block what a reader has anyway:

    <!-- before: name = "Nora" -->       code to run before the block
    <!-- after: await greet(name) -->    code to run after it, such as a call of what it defines
    <!-- needs: structlog -->            a distribution without which the block cannot run
"""

from __future__ import annotations

import ast
import gc
import inspect
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1] / "vocalsep_async"
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_BLOCK = re.compile(
    r"^(?P<notes>(?:<!--(?:(?!-->).)*-->\n)*)```python\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_NOTE = re.compile(r"<!-- (before|after|needs):\s(.*?)-->", re.DOTALL)
_LITERAL = re.compile(
    r"^(?P<indent> *)(?!\.\. )\S.*::\n(?P<code>(?:\n|(?P=indent) +\S.*\n?)+)", re.MULTILINE
)


class Notes(NamedTuple):
    """What a page says about a block, for the tests only."""

    before: str = ""
    after: str = ""
    needs: str = ""

    @classmethod
    def of(cls, comments: str) -> Notes:
        return cls(**{kind: text.strip() for kind, text in _NOTE.findall(comments)})


def page_blocks(text: str) -> Iterator[tuple[str, Notes]]:
    """The Python blocks of a page in Markdown."""
    for found in _BLOCK.finditer(text):
        yield found["code"], Notes.of(found["notes"])


def docstring_blocks(source: str) -> Iterator[str]:
    """The literal blocks in the docstrings of a module, and of all public that it defines."""
    yield from _literal_blocks(ast.parse(source))


def _literal_blocks(node: ast.AST) -> Iterator[str]:
    if isinstance(node, (ast.Module, ast.ClassDef, *_FUNCTIONS)):
        for found in _LITERAL.finditer(ast.get_docstring(node) or ""):
            yield inspect.cleandoc(found["code"]) + "\n"
        for child in node.body:
            if not getattr(child, "name", "").startswith("_"):
                yield from _literal_blocks(child)


def public_modules() -> Iterator[Path]:
    """The files of modules without an underscore in their paths, but for the command line's."""
    for path in sorted(PACKAGE.rglob("*.py")):
        names = path.relative_to(PACKAGE).parts
        private = (name.startswith("_") and name != "__init__.py" for name in names)
        if names[0] != "cli" and not any(private):
            yield path


class Program:
    """A block, compiled so that it tells which of its functions ran.

    Running the block is not enough: a function that nothing calls would never be tried.
    """

    def __init__(self, code: str, name: str, notes: Notes) -> None:
        tree = ast.parse(code, name)
        functions = [node for node in ast.walk(tree) if isinstance(node, _FUNCTIONS)]
        for function in functions:
            call = f"__entered__({function.name!r}, {function.lineno})"
            function.body[:0] = ast.parse(call).body
        self._idle = {(function.name, function.lineno) for function in functions}
        self._steps = [
            compile(each, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            for each in (notes.before, tree, notes.after)
        ]

    async def run(self, names: Mapping[str, object]) -> None:
        """Run it with these globals; fails if a part of it did not run, or was not awaited."""
        scope = {**names, "__entered__": self._entered}
        with warnings.catch_warnings(record=True) as shown:
            warnings.filterwarnings("always", ".* was never awaited")
            for step in self._steps:
                result = eval(step, scope)
                if inspect.isawaitable(result):
                    await result
            forgotten = [name for name, value in scope.items() if _is_not_begun(value)]
            for name in forgotten:
                del scope[name]
            gc.collect()
        assert not forgotten, f"never awaited: {forgotten}"
        assert not shown, [str(each.message) for each in shown]
        assert not self._idle, f"never called: {sorted(self._idle)}"

    def _entered(self, name: str, line: int) -> None:
        self._idle.discard((name, line))


def _is_not_begun(value: object) -> bool:
    return inspect.iscoroutine(value) and inspect.getcoroutinestate(value) == inspect.CORO_CREATED
