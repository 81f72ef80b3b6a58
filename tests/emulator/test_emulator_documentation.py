"""Every fault has an example in the documentation, which `test_readme` runs, and a row there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from vocalsep_async.emulator import (
    CallbackFaults,
    CallbackRecord,
    Fault,
    RequestRecord,
    UploadFault,
)

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "testing.md"
TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = [
    ast.parse(code)
    for code in re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    if "def test_" in code
]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| `")
]


def members(enum: str) -> Iterator[str]:
    """The members of *enum* that the examples name."""
    for node in (each for tree in EXAMPLES for each in ast.walk(tree)):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=member) if name == enum:
                yield member


def arguments(call: str) -> Iterator[str | None]:
    """The keyword arguments with which the examples call *call*."""
    for node in (each for tree in EXAMPLES for each in ast.walk(tree)):
        match node:
            case ast.Call(func=ast.Name(id=name), keywords=keywords) if name == call:
                yield from (each.arg for each in keywords)


@pytest.mark.parametrize("kind", [Fault, UploadFault])
def test_every_fault_of_a_request_has_an_example(kind: type[Fault | UploadFault]) -> None:
    assert set(members(kind.__name__)) == set(kind.__members__)


def test_every_fault_of_a_callback_has_an_example() -> None:
    assert set(arguments("CallbackFaults")) == {each.name for each in attrs.fields(CallbackFaults)}


def test_every_fault_has_a_row_of_a_table() -> None:
    named = {name for row in ROWS for name in re.findall(r"`(\w+)`", row[0])}
    faults = {*Fault.__members__, *UploadFault.__members__}
    assert faults | {each.name for each in attrs.fields(CallbackFaults)} <= named


@pytest.mark.parametrize("log, record", [("requests", RequestRecord), ("posted", CallbackRecord)])
def test_every_field_of_a_record_is_named(log: str, record: type[attrs.AttrsInstance]) -> None:
    (row,) = (row for row in ROWS if row[0] == f"`emulator.{log}`")
    properties = {name for name, value in vars(record).items() if isinstance(value, property)}
    named = set(re.findall(r"`(\w+)`", row[1]))
    assert named == properties | {each.name for each in attrs.fields(record)}
