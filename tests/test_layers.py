"""The import arrows: nothing points up, and the pure layers stay pure."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import vocalsep_async

ROOT = Path(vocalsep_async.__file__).parent

PURE = {"errors", "models", "dialects", "schedule", "pacing", "decoding", "_text", "_check"}
HELPERS = {"_text", "_check", "_locks", "_tasks", "_version"}
ARROWS = {
    "_text": set(),
    "_version": set(),
    "errors": set(),
    "_check": {"errors"},
    "models": {"errors"},
    "dialects": {"errors"},
    "schedule": {"models", "errors"},
    "pacing": {"errors"},
    "decoding": {"dialects", "models", "errors"},
    "transport": {"errors"},
    "downloads": {"transport", "schedule", "models", "errors"},
    "_options": {"downloads", "schedule", "models", "errors"},
    "polling": {"schedule", "pacing", "decoding", "transport", "models", "errors"},
    "_locks": set(),
    "_tasks": set(),
    "journal": {"models", "errors"},
    "batch": {"decoding", "downloads", "journal", "polling", "schedule", "models", "errors"},
    "creating": {"decoding", "journal", "polling", "transport", "models", "errors"},
    "stats": set(),
    "client": {
        "_options",
        "batch",
        "creating",
        "polling",
        "schedule",
        "pacing",
        "decoding",
        "dialects",
        "downloads",
        "journal",
        "stats",
        "transport",
        "models",
        "errors",
    },
    "emulator": {"models", "errors"},
    "pytest_plugin": {"emulator"},
    "cli": {"__init__", "decoding", "emulator", "journal"},
    "__init__": {
        "batch",
        "client",
        "dialects",
        "downloads",
        "errors",
        "journal",
        "models",
        "pacing",
        "polling",
        "schedule",
        "stats",
    },
    "__main__": {"cli"},
}


def layer_of(file: Path) -> str:
    return file.relative_to(ROOT).with_suffix("").parts[0]


def layers() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for file in ROOT.rglob("*.py"):
        found.setdefault(layer_of(file), []).append(file)
    return found


def imports(file: Path) -> Iterator[str]:
    """Every module that *file* imports, but for those that only type checkers see."""
    nodes: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        nodes.extend(ast.iter_child_nodes(node))


def our_layers(file: Path) -> set[str]:
    """The layers of this package that *file* imports."""
    found = set()
    for name in imports(file):
        package, _, rest = name.partition(".")
        if package == "vocalsep_async":
            layer = rest.partition(".")[0]
            found.add(layer if layer in ARROWS else "__init__")
    return found - {layer_of(file)}


def test_every_module_has_its_arrows() -> None:
    assert set(layers()) == set(ARROWS)


@pytest.mark.parametrize("layer", sorted(ARROWS))
def test_a_layer_imports_only_what_lies_below_it(layer: str) -> None:
    used = set().union(*map(our_layers, layers()[layer]))
    assert used - HELPERS <= ARROWS[layer]


@pytest.mark.parametrize("layer", sorted(PURE))
def test_a_pure_layer_does_no_input_or_output(layer: str) -> None:
    used = {name.partition(".")[0] for file in layers()[layer] for name in imports(file)}
    assert not used & {"aiohttp", "anyio", "asyncio", "socket", "time", "random", "threading"}


@pytest.mark.parametrize("layer", sorted(set(ARROWS) - {"transport", "emulator"}))
def test_only_the_transport_knows_aiohttp(layer: str) -> None:
    used = {name.partition(".")[0] for file in layers()[layer] for name in imports(file)}
    assert "aiohttp" not in used
