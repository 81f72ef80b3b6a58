"""The page about troubleshooting quotes messages of the package, and leaves none out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from pages import text_of

import vocalsep_async
from vocalsep_async import InvalidArgumentError, VocalSepError

PAGE = "docs/how-to/troubleshooting.md"
PACKAGE = Path(vocalsep_async.__file__).parent
VALUE = "\0"
"""Stands for what a message has from a variable."""
FOREIGN = {"asyncio.run() cannot be called from a running event loop"}
"""Messages of Python itself."""
NOT_LISTED = {
    "emulator/": "says what is wrong with a test",
    "cli/": "input of the command line; what is no matter of the input is listed",
}
"""Parts of the package whose messages need not be on the page, and why."""
SELDOM = {
    f"a stored task has the status {VALUE}": "wrapped by the error of the journal",
    "the file has not been requested yet": "a mistake of this package",
    "the body of the upload cannot be read": "aiohttp gets it, and ends the request",
}
"""Messages that no user meets, and why."""


class Message(NamedTuple):
    where: str
    text: str


def template(node: ast.expr) -> str | None:
    """The text of a literal, with `VALUE` for each value in it."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) or VALUE for part in node.values)
    return None


def literals() -> Iterator[str]:
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            text = template(node) if isinstance(node, ast.expr) else None
            if text is not None:
                yield text


def messages() -> Iterator[Message]:
    """The messages of this package's errors, where they are literals."""
    for file in sorted(PACKAGE.rglob("*.py")):
        where = file.relative_to(PACKAGE).as_posix()
        if where.startswith(tuple(NOT_LISTED)):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and is_listed(node.func):
                text = template(node.args[0])
                if text is not None and text.strip(f"{VALUE}:;. ") and text not in SELDOM:
                    yield Message(where, text)


def is_listed(function: ast.expr) -> bool:
    """Whether *function* makes an error whose messages the page lists."""
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    kind = getattr(vocalsep_async, name, None)
    is_ours = isinstance(kind, type) and issubclass(kind, VocalSepError)
    return (is_ours and kind is not InvalidArgumentError) or name == "UnusableFileError"


def quotes() -> list[str]:
    """What the page quotes, each with its wildcards."""
    cells = re.findall(r"^\| (`.*?) \|", text_of(PAGE), re.MULTILINE)
    return [quote for cell in cells for quote in re.findall(r"`([^`]+)`", cell)]


def pattern(quote: str) -> re.Pattern[str]:
    """Finds a quote in a template; its wildcards stand for anything."""
    parts = [re.escape(part) for part in quote.split("…")]
    return re.compile(".*?".join(parts), re.DOTALL)


QUOTES = quotes()
LITERALS = "\n\n".join(literals())
MESSAGES = sorted(set(messages()))


@pytest.mark.parametrize("quote", QUOTES)
def test_a_message_that_the_page_quotes_is_one_of_the_package(quote: str) -> None:
    words = re.compile(r"[^\n]*?".join(map(re.escape, quote.split("…"))))
    assert words.search(LITERALS) or quote in FOREIGN


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.text[:50])
def test_a_message_of_the_package_is_on_the_page(message: Message) -> None:
    enough = [quote for quote in QUOTES if len(quote.strip("… :")) > 5]
    is_there = any(pattern(quote).search(message.text) for quote in enough)
    assert is_there, f"say in {PAGE} what to do about this one of {message.where}"


def test_a_message_that_the_page_leaves_out_is_one_of_the_package() -> None:
    known = {text.strip() for text in LITERALS.split("\n\n")}
    assert known >= SELDOM.keys()


def test_no_quote_stands_twice() -> None:
    assert len(QUOTES) == len(set(QUOTES))
