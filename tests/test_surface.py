"""The stable surface of public classes: paths in pickles, annotations, sources and help."""

from __future__ import annotations

import inspect
import pickle
import pickletools
import pydoc
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import attrs
import cattrs
import pytest
from event_values import EVENTS
from pickled import FOLDER, VALUES, path_of
from test_errors import FAMILY, example, state

import vocalsep_async

CLASSES = [
    value
    for name in vocalsep_async.__all__
    if inspect.isclass(value := getattr(vocalsep_async, name))
] + [type(event) for event in EVENTS]
UNPICKLED = {"VocalSepClient", "BatchRunner", "StemStream", "Journal", "Durations"} | {
    "SongRunner",
    "DurationView",
    "Limiter",
    "PollContext",
    "PollPolicy",
    "RateLimiter",
    "Slot",
    "Event",
    "EventListener",
}
"""Live objects, objects that refer to one, a base class and protocols."""


def named_in(pickled: bytes) -> Iterator[str]:
    """The module and class names that loading *pickled* imports."""
    strings: list[str] = []
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "GLOBAL":
            yield str(argument).replace(" ", ".")
        elif isinstance(argument, str):
            strings.append(argument)
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(strings[-2:])


def content(value: Any) -> Any:
    """What *value* holds, to be compared: two errors are only equal if they are one object."""
    if isinstance(value, Exception):
        return type(value), value.args
    if attrs.has(type(value)):
        return {
            each.name: content(getattr(value, each.name))
            for each in attrs.fields(type(value))
            if each.eq
        }
    return value


def assert_same(loaded: object, value: object) -> None:
    # Not by their reprs, in which the members of a set come in any order.
    assert type(loaded) is type(value)
    assert content(loaded) == content(value)


def test_this_file_pickles_every_value_policy_and_error() -> None:
    pickled = {type(value).__name__ for value in VALUES} | {error.__name__ for error in FAMILY}
    assert pickled | UNPICKLED == {each.__name__ for each in CLASSES}


@pytest.mark.parametrize(
    "value",
    [*VALUES, *(example(cast("Any", error)) for error in FAMILY)],
    ids=lambda value: type(value).__name__,
)
def test_a_pickle_names_no_private_module(value: object) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        pickled = pickle.dumps(value, protocol)
        ours = [name for name in named_in(pickled) if name.startswith("vocalsep_async")]
        assert ours
        assert not [name for name in ours if "._" in name]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_survives_a_pickle(value: object) -> None:
    assert_same(pickle.loads(pickle.dumps(value)), value)


@pytest.mark.parametrize("version", sorted(path.name for path in FOLDER.iterdir()))
def test_pickles_of_earlier_releases_are_loaded(version: str) -> None:
    for value in VALUES:
        assert_same(pickle.loads(path_of(version, value).read_bytes()), value)
    for cls in FAMILY:
        error = example(cast("Any", cls))
        assert state(pickle.loads(path_of(version, error).read_bytes())) == state(error)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: str(cls.__name__))
class TestPublicClass:
    """Every public class, as generic tools see it."""

    def test_is_defined_in_a_public_module(self, cls: type) -> None:
        assert not any(part.startswith("_") for part in cls.__module__.split("."))
        assert getattr(sys.modules[cls.__module__], cls.__name__) is cls

    def test_shows_its_own_source(self, cls: type) -> None:
        assert f"class {cls.__name__}" in inspect.getsource(cls)

    def test_has_annotations_that_resolve(self, cls: type) -> None:
        typing.get_type_hints(cls)
        for name, function in inspect.getmembers(cls, inspect.isfunction):
            if name.startswith("__") or not name.startswith("_"):
                typing.get_type_hints(function)
        if attrs.has(cls):
            attrs.resolve_types(cls)

    def test_has_help_and_names(self, cls: type) -> None:
        text = pydoc.plain(pydoc.render_doc(cls))
        assert cls.__name__ in text
        assert dir(cls)

    def test_shows_no_private_name_in_its_help(self, cls: type) -> None:
        text = pydoc.plain(pydoc.render_doc(cls))
        assert "vocalsep_async._" not in text


@pytest.mark.parametrize(
    "value",
    [each for each in VALUES if attrs.has(type(each))],
    ids=lambda each: type(each).__name__,
)
def test_a_plain_cattrs_converter_unstructures_a_value(value: object) -> None:
    unstructured = cattrs.Converter().unstructure(value)
    assert isinstance(unstructured, dict)
    assert set(unstructured) == {field.name for field in attrs.fields(cast("Any", type(value)))}


@pytest.mark.parametrize("first", ["errors", "models", "client", "providers", "policies"])
def test_a_public_module_can_be_imported_first(first: str) -> None:
    program = (
        f"import vocalsep_async.{first}, typing, vocalsep_async\n"
        "for name in vocalsep_async.__all__:\n"
        "    value = getattr(vocalsep_async, name)\n"
        "    if isinstance(value, type): typing.get_type_hints(value.__init__)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_star_import_brings_every_listed_name() -> None:
    names: dict[str, object] = {}
    exec("from vocalsep_async import *", names)
    assert set(vocalsep_async.__all__) <= set(names)
    assert set(vocalsep_async.__all__) <= set(dir(vocalsep_async))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'journals'"):
        getattr(vocalsep_async, "journals")  # noqa: B009 - hidden from type checkers


def test_two_threads_that_import_the_package_get_the_same_objects() -> None:
    program = (
        "import threading\n"
        "found = []\n"
        "def load():\n"
        "    import vocalsep_async\n"
        "    found.append([id(getattr(vocalsep_async, name)) for name in vocalsep_async.__all__])\n"
        "threads = [threading.Thread(target=load) for _ in range(2)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "assert len(found) == 2 and found[0] == found[1]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_attribute_of_every_public_module_can_be_read() -> None:
    modules = [
        module
        for name, module in sorted(sys.modules.items())
        if name.startswith("vocalsep_async") and "._" not in name
    ]
    assert len(modules) > 10
    for module in modules:
        for name in dir(module):
            getattr(module, name)
        assert inspect.getmembers(module)


def test_the_program_for_type_checkers_imports_every_public_name() -> None:
    program = Path(__file__).with_name("typing").joinpath("user.py").read_text(encoding="utf-8")
    for name in set(vocalsep_async.__all__) - {"__version__"}:
        assert f"    vocalsep_async.{name},\n" in program
