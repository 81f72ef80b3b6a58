"""Options that several commands have, and what they mean."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Annotated

import typer
from attrs import frozen

from vocalsep_async import ConfigurationError, SeparationType, VocalSepClient

_OTHERS = stat.S_IRWXG | stat.S_IRWXO

Given = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Ids of tasks; - reads them from standard input."),
]
Named = Annotated[list[str], typer.Argument(metavar="ID", help="Ids of tasks.")]
File = Annotated[Path | None, typer.Option(help="A file with one id a line.")]
Kind = Annotated[
    SeparationType | None,
    typer.Option("--type", help="What kind of separation they are: it saves time and looks."),
]
Timeout = Annotated[
    float | None, typer.Option(help="Seconds for each task; no limit by default.", min=0)
]
JournalPath = Annotated[
    Path | None, typer.Option(help="Keep a journal, and go on with what it holds.")
]
To = Annotated[Path | None, typer.Option("--to", help="Save the stems below this folder.")]
StemNames = Annotated[
    list[str] | None, typer.Option("--stem", help="Save this stem alone; may be repeated.")
]
Report = Annotated[
    Path | None, typer.Option(help="Write a page to look at and listen to, such as report.html.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON on standard output, one object a line.")
]


@frozen
class Settings:
    """What goes for every command.

    Attributes:
        key_file: where the key is; None for the environment.
        quiet: whether progress is not shown.
        debug: whether an error shows where it comes from.
    """

    key_file: Path | None = None
    quiet: bool = False
    debug: bool = False

    def client(self) -> VocalSepClient:
        """A client with the key from the file or the environment.

        Raises:
            ConfigurationError: there is no key, or others can read it.
            OSError: the file cannot be read.
        """
        if self.key_file is not None:
            return VocalSepClient(_key_in(self.key_file))
        if not os.environ.get("VOCALSEP_API_KEY", "").strip():
            # The client's own message names its argument, which is no option of a command.
            raise ConfigurationError(
                "no API key: set the environment variable VOCALSEP_API_KEY, or give --key-file"
            )
        return VocalSepClient()


def _key_in(file: Path) -> str:
    if file.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
    if os.name == "posix" and file.stat().st_mode & _OTHERS:
        raise ConfigurationError(f"others can read the key in {file}: chmod 600 {file}")
    try:
        key = file.read_text("utf-8-sig").strip()
    except UnicodeDecodeError:
        key = ""
    if not key:
        raise ConfigurationError(f"{file} holds no key: it should be its only line")
    return key
