"""A signal that arrives while the command line loads its modules ends it without a traceback.

The package imports this first, because its modules take half a second. Programs that use the
package keep their own handlers.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

_MAIN = b"vocalsep_async.__main__"
"""The module that the installed script imports."""
_LONGEST_SCRIPT = 4096
_INTERRUPTED = 130
"""The exit code of an interrupted command, which `cli.process` cannot yet be asked for."""


def is_command(program: str, arguments: Sequence[str]) -> bool:
    """Whether the process is the command line; *arguments* are those of the interpreter."""
    # While Python imports the package of a module that it will run, that is the program's name.
    if program == "-m":
        return _module(arguments) == "vocalsep_async"
    name = os.path.basename(program)  # noqa: PTH119 - pathlib takes long to load
    if name == "vocalsep.exe":
        # A frozen program of a user's may be called like that, too.
        return not getattr(sys, "frozen", False)
    # The script that is installed; one of a user's may be called vocalsep, and clean up at its end.
    return name == "vocalsep" and _MAIN in _beginning(program)


def _module(arguments: Sequence[str]) -> str:
    """The module that ``-m`` names, also as in ``-Im module`` and ``-mmodule``."""
    rest = iter(arguments[1:])
    for option in rest:
        if option in ("-W", "-X"):
            next(rest, "")
        elif not option.startswith(("-W", "-X", "--")) and "m" in option:
            return option.partition("m")[2] or next(rest, "")
    return ""


def _beginning(program: str) -> bytes:
    try:
        with open(program, "rb") as file:  # noqa: PTH123 - pathlib takes long to load
            return file.read(_LONGEST_SCRIPT)
    except OSError:
        return b""


def end_on_signals() -> None:
    """End the process immediately on SIGINT or SIGTERM, unless they are ignored or handled."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number, default in _defaults():
        if signal.getsignal(number) == default:
            signal.signal(number, _end)


def restore_signals() -> None:
    """Undo `end_on_signals`: commands handle signals themselves."""
    for number, default in _defaults():
        if signal.getsignal(number) == _end:
            signal.signal(number, default)


def _defaults() -> list[tuple[signal.Signals, signal.Handlers | Callable[..., object]]]:
    return [(signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)]


def _end(_number: int, _frame: object) -> None:
    # Nothing has begun that would need a clean-up.
    os._exit(_INTERRUPTED)


if is_command("".join(sys.argv[:1]), sys.orig_argv):  # pragma: no cover - in other processes
    end_on_signals()
