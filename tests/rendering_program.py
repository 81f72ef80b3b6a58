"""Prints the package as documentation tools show it, with the reprs of its objects.

    VOCALSEP_API_KEY=... python tests/rendering_program.py

A separate process renders them, because defaults that came from the environment would be read only
once, when the package is imported.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import pkgutil
import pydoc
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from types import ModuleType

import vocalsep_async
from vocalsep_async import ConfigurationError, VocalSepClient
from vocalsep_async.emulator import Emulator


def public_modules() -> Iterator[ModuleType]:
    """The package, and every module whose path contains no leading underscore."""
    yield vocalsep_async
    for found in pkgutil.walk_packages(vocalsep_async.__path__, "vocalsep_async."):
        if "._" not in found.name:
            # The module of a framework that is not installed says so with an ImportError.
            with suppress(ImportError):
                yield importlib.import_module(found.name)


def public_names(owner: object) -> Iterator[tuple[str, object]]:
    """Every public attribute, and the constructor, as documentation tools find them."""
    names = {"__init__", *getattr(owner, "__all__", ()), *dir(owner)}
    for name in sorted(names):
        if name == "__init__" or not name.startswith("_"):
            yield name, getattr(owner, name)


def signatures(owner: object) -> Iterator[str]:
    """The signature of each callable in *owner*, and of the methods of its classes."""
    for name, value in public_names(owner):
        if callable(value):
            with suppress(ValueError):  # a type written in C may have none
                yield f"{name}{inspect.signature(value)}"
        # Not those of other packages, whose attributes may not all be readable.
        is_ours = str(getattr(value, "__module__", "")).startswith("vocalsep_async")
        if is_ours and inspect.isclass(value) and not inspect.isclass(owner):
            yield from (f"{name}.{each}" for each in signatures(value))


def traceback_of_a_wrong_argument() -> str:
    """The traceback, with local variables, of a wrong argument with a key in the environment."""
    try:
        VocalSepClient(request_timeout=-1)
    except ConfigurationError as error:
        report = traceback.TracebackException.from_exception(error, capture_locals=True)
        return "".join(report.format())
    raise AssertionError("a negative timeout was accepted")


async def reprs() -> list[str]:
    """The reprs of a client configured by the environment, and of the objects it creates."""
    async with VocalSepClient() as client, client.track(()) as batch:
        made = (client, client.stats, client.durations, batch, batch.stats, Emulator())
        return [f"{each!r} {each}" for each in made]


def texts() -> Iterator[str]:
    """Every rendered text."""
    for module in public_modules():
        yield from signatures(module)
        yield pydoc.plain(pydoc.render_doc(module))
    yield from asyncio.run(reprs())
    yield traceback_of_a_wrong_argument()


if __name__ == "__main__":
    sys.stdout.write("\n".join(texts()))
