"""A signal while the modules of the command line are loaded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cli.in_process import SIGNALS, restored_signals

from vocalsep_async import _startup
from vocalsep_async.cli.process import ExitCode

STALLED = """
import os
os.write(1, b"loading\\n")
os.read(0, 1)
raise ImportError("loaded")
"""
"""A module whose import waits for the end of standard input."""
SCRIPT = """
from vocalsep_async.__main__ import main
main()
"""


def stop_while_loading(
    tmp_path: Path, number: signal.Signals, module: str, *command: str
) -> tuple[int, bytes]:
    """Send a signal to *command* while it loads *module*; return its status and its errors."""
    (tmp_path / f"{module}.py").write_text(STALLED)
    with subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"loading\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    return process.returncode, err


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("module", ["aiohttp", "typer"])
@pytest.mark.parametrize("start", ["module", "script"])
def test_a_signal_while_modules_load_ends_the_command_without_a_traceback(
    tmp_path: Path, number: signal.Signals, module: str, start: str
) -> None:
    script = tmp_path / "vocalsep"
    script.write_text(SCRIPT)
    command = ("-m", "vocalsep_async") if start == "module" else (str(script),)
    status = stop_while_loading(tmp_path, number, module, *command, "--help")
    assert status == (ExitCode.INTERRUPTED, b"")


def test_a_program_that_imports_the_package_keeps_its_own_handling(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "try:\n import vocalsep_async\nexcept KeyboardInterrupt:\n raise SystemExit(7)"
    )
    assert stop_while_loading(tmp_path, signal.SIGINT, "aiohttp", str(program)) == (7, b"")


@pytest.mark.parametrize(
    "program, arguments, is_command",
    [
        ("-m", ["python", "-m", "vocalsep_async", "get"], True),
        ("-m", ["python", "-X", "dev", "-m", "vocalsep_async"], True),
        ("-m", ["python", "-m", "pytest", "vocalsep_async"], False),
        ("-m", ["python", "-Im", "vocalsep_async"], True),
        ("-m", ["python", "-u", "-mvocalsep_async"], True),
        ("-m", ["python", "-Xmem", "-W", "module", "-m", "vocalsep_async"], True),
        ("-m", ["python", "--check-hash-based-pycs", "-m", "other", "-m", "vocalsep_async"], False),
        ("-m", ["python", "-m"], False),
        ("-m", ["python"], False),
        ("vocalsep.exe", ["vocalsep.exe"], True),
        ("/srv/vocalsep.py", ["python", "/srv/vocalsep.py"], False),
        ("/srv/worker.py", ["python", "/srv/worker.py", "-m", "vocalsep_async"], False),
        ("-c", ["python", "-c", "import vocalsep_async"], False),
        ("", ["python"], False),
    ],
)
def test_a_command_is_known_by_how_it_was_started(
    program: str, arguments: list[str], *, is_command: bool
) -> None:
    assert _startup.is_command(program, arguments) is is_command


@pytest.mark.parametrize(
    "text, is_command",
    [
        ("#!/bin/python\nimport sys\nfrom vocalsep_async.__main__ import main\n", True),
        ("import vocalsep_async\n", False),
        (None, False),
    ],
)
def test_a_script_called_like_the_command_is_known_by_what_it_imports(
    tmp_path: Path, text: str | None, *, is_command: bool
) -> None:
    script = tmp_path / "vocalsep"
    if text is not None:
        script.write_text(text)
    assert _startup.is_command(str(script), ["python", str(script)]) is is_command


def test_a_frozen_program_is_not_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert not _startup.is_command("vocalsep.exe", ["vocalsep.exe"])


def test_a_program_of_the_same_name_cleans_up_after_a_signal(tmp_path: Path) -> None:
    program = tmp_path / "vocalsep"
    program.write_text(
        "import vocalsep_async\n"
        "try:\n import stalled\nexcept KeyboardInterrupt:\n raise SystemExit(7)"
    )
    assert stop_while_loading(tmp_path, signal.SIGINT, "stalled", str(program)) == (7, b"")


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in SIGNALS]


def test_signals_end_the_process_only_until_the_command_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with restored_signals():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        before = handlers()
        _startup.end_on_signals()
        for number in SIGNALS:
            signal.raise_signal(number)
        assert ended == [ExitCode.INTERRUPTED] * 2
        _startup.restore_signals()
        assert handlers() == before


def test_signals_that_are_ignored_or_handled_stay_so() -> None:
    def handle(_number: int, _frame: object) -> None: ...

    with restored_signals():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, handle)
        before = handlers()
        _startup.end_on_signals()
        assert handlers() == before
        _startup.restore_signals()
        assert handlers() == before


def test_another_thread_sets_no_handlers() -> None:
    before = handlers()
    thread = threading.Thread(target=_startup.end_on_signals)
    thread.start()
    thread.join()
    assert handlers() == before
