"""The import arrows: nothing points up, and the pure layers stay pure."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vocalsep_async

ROOT = Path(vocalsep_async.__file__).parent

PUBLIC = {
    "__init__",
    "__main__",
    "batch",
    "cli",
    "client",
    "contrib",
    "downloads",
    "durations",
    "emulator",
    "errors",
    "instrumentation",
    "journal",
    "limiter",
    "models",
    "policies",
    "providers",
    "pytest_plugin",
    "songs",
    "webhooks",
    "uploads",
}
"""Modules whose paths users may hold on to; all others begin with an underscore."""
PURE = {
    "errors",
    "instrumentation",
    "models",
    "policies",
    "providers",
    "uploads",
    "_failures",
    "_limiting",
    "_scheduling",
    "_signing",
    "_text",
    "_validation",
    "webhooks",
}
ARROWS = {
    "_version": set(),
    "_startup": set(),
    "_text": set(),
    "_tasks": set(),
    "_files": set(),
    # Errors and models name each other's types.
    "errors": {"models"},
    "models": {"errors", "_text", "_validation"},
    "_validation": {"_text", "errors"},
    "_scheduling": {"models", "_validation"},
    "durations": {"_scheduling", "models", "errors"},
    "policies": {"durations", "errors", "_validation"},
    "providers": {"models", "errors", "_text"},
    "_signing": {"_text", "errors"},
    "webhooks": {"_signing", "_text", "_validation", "errors", "models", "providers"},
    "instrumentation": {"errors", "models"},
    "_logging": set(),
    "_event_log": {"_failures", "_text", "errors", "instrumentation"},
    "_events": {"_event_log", "_text", "errors", "instrumentation"},
    "_limiting": {"policies"},
    "_budget": {"_limiting", "_tasks", "policies"},
    "_learned": {"_scheduling", "_tasks", "models"},
    "limiter": {"_budget", "_limiting", "_tasks", "errors", "policies"},
    "_accounts": {"_budget", "_learned", "_tasks", "policies"},
    "_binding": {"errors"},
    "_turns": set(),
    "_request_queue": {"_events", "_failures", "_turns", "errors", "instrumentation", "limiter"},
    "_timed_calls": {"_request_queue", "_text", "errors"},
    "_failures": {"errors", "policies"},
    "_transport": {"errors", "policies", "_tasks", "_text", "providers"},
    "_sender": {
        "_binding",
        "_events",
        "_failures",
        "_request_queue",
        "_timed_calls",
        "_transport",
        "errors",
        "instrumentation",
        "policies",
        "providers",
    },
    "_polling": {
        "_events",
        "_failures",
        "_request_queue",
        "_scheduling",
        "_sender",
        "_tasks",
        "_text",
        "_validation",
        "durations",
        "errors",
        "instrumentation",
        "limiter",
        "models",
        "policies",
        "providers",
    },
    "downloads": {"_downloads", "_validation", "errors", "models", "policies"},
    "_downloads": {
        "_binding",
        "_events",
        "_failures",
        "_files",
        "_tasks",
        "_text",
        "_transport",
        "downloads",
        "errors",
        "instrumentation",
        "models",
        "policies",
    },
    "uploads": set(),
    "_uploads": {
        "_downloads",
        "_events",
        "_failures",
        "_tasks",
        "_text",
        "_transport",
        "errors",
        "instrumentation",
        "policies",
        "providers",
        "uploads",
    },
    "journal": {"_journal", "errors", "models"},
    "_journal": {"_files", "_tasks", "_text", "errors", "models"},
    "batch": {"models"},
    "_batch": {
        "_arguments",
        "_events",
        "_journal",
        "_polling",
        "_scheduling",
        "_tasks",
        "_text",
        "batch",
        "errors",
        "instrumentation",
        "journal",
        "models",
        "policies",
    },
    "_arguments": {
        "_logging",
        "_text",
        "_transport",
        "_version",
        "errors",
        "limiter",
        "models",
        "policies",
        "providers",
    },
    "_journals": {"_events", "_tasks", "instrumentation", "journal"},
    "_creation": {
        "_events",
        "_journals",
        "_request_queue",
        "_sender",
        "_tasks",
        "_text",
        "errors",
        "instrumentation",
        "models",
        "providers",
    },
    "songs": {"_arguments", "_text", "_validation", "errors", "models"},
    "_songs": {
        "_arguments",
        "_batch",
        "_creation",
        "_downloads",
        "_events",
        "_failures",
        "_journal",
        "_journals",
        "_polling",
        "_tasks",
        "_text",
        "_uploads",
        "_validation",
        "downloads",
        "errors",
        "instrumentation",
        "models",
        "policies",
        "providers",
        "songs",
        "uploads",
    },
    "_engine": {
        "_accounts",
        "_batch",
        "_binding",
        "_creation",
        "_downloads",
        "_events",
        "_failures",
        "_journals",
        "_learned",
        "_polling",
        "_request_queue",
        "_scheduling",
        "_sender",
        "_songs",
        "_transport",
        "_uploads",
        "downloads",
        "instrumentation",
        "journal",
        "limiter",
        "models",
        "policies",
        "providers",
    },
    "client": {
        "_arguments",
        "_batch",
        "_creation",
        "_downloads",
        "_engine",
        "_events",
        "_logging",
        "_polling",
        "_songs",
        "_transport",
        "_uploads",
        "_validation",
        "batch",
        "downloads",
        "durations",
        "errors",
        "instrumentation",
        "journal",
        "limiter",
        "models",
        "policies",
        "providers",
        "songs",
        "uploads",
    },
    "emulator": {
        *("_text", "_validation", "client", "errors", "limiter", "models", "policies"),
        "providers",
    },
    "_receiving": {
        "_arguments",
        "_signing",
        "_text",
        "_validation",
        "client",
        "errors",
        "models",
        "policies",
        "providers",
        "webhooks",
    },
    "contrib": {
        "_journal",
        "_learned",
        "_limiting",
        "_receiving",
        "_scheduling",
        "_tasks",
        "_text",
        "_validation",
        "_version",
        "client",
        "errors",
        "instrumentation",
        "journal",
        "limiter",
        "models",
        "policies",
        "songs",
    },
    "pytest_plugin": {"emulator"},
    "cli": {
        "__init__",
        "_arguments",
        "_downloads",
        "_journal",
        "_signing",
        "_songs",
        "_text",
        "contrib",
        "emulator",
        "instrumentation",
        "models",
        "policies",
        "providers",
        "songs",
        "webhooks",
    },
    "__init__": {
        "_startup",
        "_version",
        "batch",
        "client",
        "downloads",
        "durations",
        "errors",
        "instrumentation",
        "journal",
        "limiter",
        "models",
        "policies",
        "providers",
        "songs",
        "uploads",
    },
    "__main__": {"_startup", "cli"},
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


def test_the_public_modules_are_those_without_an_underscore() -> None:
    private = {layer for layer in layers() if layer.startswith("_") and not layer.startswith("__")}
    assert set(layers()) - private == PUBLIC


@pytest.mark.parametrize("layer", sorted(ARROWS))
def test_a_layer_imports_what_its_arrows_allow_and_no_arrow_is_unused(layer: str) -> None:
    used = set().union(*map(our_layers, layers()[layer]))
    assert used == ARROWS[layer]


@pytest.mark.parametrize("layer", sorted(PURE))
def test_a_pure_layer_does_no_input_or_output(layer: str) -> None:
    used = {name.partition(".")[0] for file in layers()[layer] for name in imports(file)}
    assert not used & {"aiohttp", "anyio", "asyncio", "socket", "time", "random", "threading"}


KNOWS_AIOHTTP = {"cli", "_transport", "_engine", "client", "contrib", "emulator"}


@pytest.mark.parametrize("layer", sorted(set(ARROWS) - KNOWS_AIOHTTP))
def test_only_the_transport_knows_aiohttp(layer: str) -> None:
    # The client and its engine name its types: annotations have to resolve. The command line
    # listens for callbacks.
    used = {name.partition(".")[0] for file in layers()[layer] for name in imports(file)}
    assert "aiohttp" not in used


def test_the_asgi_receiver_needs_no_framework() -> None:
    used = {name.partition(".")[0] for name in imports(ROOT / "contrib" / "asgi.py")}
    assert used <= {"vocalsep_async", *sys.stdlib_module_names}


def test_the_map_lists_each_module_above_the_ones_that_it_imports() -> None:
    text = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.*?) \|", text.partition("## The flows")[0], re.MULTILINE)
    rows = {
        name.removesuffix(".py").removesuffix("/"): row
        for row, cell in enumerate(cells)
        for name in re.findall(r"`(.*?)`", cell)
    }
    assert set(rows) == set(ARROWS)
    wrong = [
        (above, below) for above in ARROWS for below in ARROWS[above] if rows[above] > rows[below]
    ]
    assert wrong == []
