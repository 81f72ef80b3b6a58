"""The names that the package exports."""

import importlib
import os
import subprocess
import sys
from importlib.metadata import requires, version
from importlib.resources import files
from types import ModuleType

import pytest

import vocalsep_async
from vocalsep_async import errors, models


def test_every_listed_name_exists() -> None:
    for name in vocalsep_async.__all__:
        assert hasattr(vocalsep_async, name)


def test_every_public_name_is_listed() -> None:
    public = {
        name
        for name, value in vars(vocalsep_async).items()
        if not name.startswith("_") and not isinstance(value, type(sys))
    }
    assert public == set(vocalsep_async.__all__) - {"__version__"}


def test_importing_the_package_does_not_load_sqlite() -> None:
    program = "import sys, vocalsep_async; print('sqlite3' in sys.modules)"
    # The coverage tool loads sqlite3 itself.
    environ = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, env=environ
    )
    assert shown.stdout.strip() == b"False"


def test_importing_the_package_does_not_load_its_webhooks() -> None:
    program = "import sys, vocalsep_async; print('vocalsep_async.webhooks' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert shown.stdout.strip() == b"False"


def test_no_name_is_listed_twice() -> None:
    assert len(set(vocalsep_async.__all__)) == len(vocalsep_async.__all__)


@pytest.mark.parametrize("module", [errors, models])
def test_every_public_class_is_exported_by_the_package(module: ModuleType) -> None:
    classes = {
        name
        for name, value in vars(module).items()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }
    assert classes <= set(vocalsep_async.__all__)


def test_every_error_is_derived_from_the_base_class() -> None:
    for name in vocalsep_async.__all__:
        if name.endswith("Error"):
            assert issubclass(getattr(vocalsep_async, name), vocalsep_async.VocalSepError)


def test_every_public_name_has_a_docstring() -> None:
    for name in set(vocalsep_async.__all__) - {"__version__", "SUNOAPI", "KIE"}:
        assert getattr(vocalsep_async, name).__doc__, name


def test_the_package_contains_its_type_marker() -> None:
    assert (files("vocalsep_async") / "py.typed").is_file()


def test_the_package_requires_exactly_four_packages() -> None:
    needed = [each for each in requires("vocalsep-async") or () if "extra ==" not in each]
    names = {each.partition(">")[0].strip() for each in needed}
    assert names == {"aiohttp", "anyio", "attrs", "cattrs"}


def test_the_version_equals_that_of_the_distribution() -> None:
    assert vocalsep_async.__version__ == version("vocalsep-async")


def test_importing_the_package_loads_neither_emulator_nor_command_line() -> None:
    code = (
        "import sys, vocalsep_async\n"
        "heavy = 'vocalsep_async.emulator vocalsep_async.cli typer rich pytest'.split()\n"
        "loaded = [name for name in heavy if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_listed_by_the_emulator_exists() -> None:
    emulator = importlib.import_module("vocalsep_async.emulator")
    for name in emulator.__all__:
        assert hasattr(emulator, name)
