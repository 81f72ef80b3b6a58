"""Programs that a page of the documentation shows in files, to be run as they stand.

A Python block is a file where the paragraph before it ends with the file's name: "Save this as
`program.py`:". What a page prints is the block of text behind the commands.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NAMED = re.compile(
    r"`([\w./-]+)`[^`\n]*:\n\n```(?:python|json|toml|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE
)


class Commands(NamedTuple):
    """Commands of a page, and what they print; None where the page does not say so."""

    commands: str
    output: str | None


def text_of(page: str) -> str:
    """The text of a page, such as "docs/how-to/cron.md"."""
    return (ROOT / page).read_text(encoding="utf-8")


def files_of(page: str) -> dict[str, str]:
    """The files that a page shows, by their names."""
    return dict(_NAMED.findall(text_of(page)))


def save_files(page: str, folder: Path) -> None:
    """Write the files that a page shows into *folder*."""
    for name, content in files_of(page).items():
        folder.joinpath(name).write_text(content, encoding="utf-8")


def blocks_of(page: str) -> list[str]:
    """The Python blocks of a page, in order."""
    return [body for kind, body in _FENCE.findall(text_of(page)) if kind == "python"]


def commands_of(page: str) -> list[Commands]:
    """The blocks of shell commands of a page, in order."""
    blocks = [(kind, body) for kind, body in _FENCE.findall(text_of(page)) if kind != "python"]
    following = [*blocks[1:], ("", "")]
    return [
        Commands(body, after[1] if after[0] == "text" else None)
        for (kind, body), after in zip(blocks, following, strict=True)
        if kind == "sh"
    ]


def module_of(page: str, name: str) -> ModuleType:
    """Import a file that a page shows, as it stands."""
    module = ModuleType(name.removesuffix(".py"))
    code = compile(files_of(page)[name], f"{page}:{name}", "exec")
    exec(code, vars(module))
    return module
