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
from itertools import pairwise

_INTERRUPTED = 130
"""The exit code of an interrupted command, which `cli.process` cannot yet be asked for."""


def is_command(program: str, arguments: Sequence[str]) -> bool:
    """Whether the process is the command line; *arguments* are those of the interpreter."""
    # While Python imports the package of a module that it will run, that is the program's name.
    if program == "-m":
        return ("-m", "vocalsep_async") in pairwise(arguments)
    # The script that is installed; a module of a user may be called vocalsep.py.
    return os.path.basename(program) in ("vocalsep", "vocalsep.exe")  # noqa: PTH119 - pathlib takes long to load


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
