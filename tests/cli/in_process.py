"""The command line inside the process of a test: fast, and open to patches."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from cli.subprocesses import KEY
from typer.testing import CliRunner, Result

from vocalsep_async.cli import app
from vocalsep_async.emulator import Emulator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def restored_signals() -> Iterator[None]:
    """Restore the signal handlers, which a command replaces for the rest of its process."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def call(
    emulator: Emulator, *words: str | Path, environ: dict[str, str | None] | None = None
) -> Result:
    """Run a command to its end; None removes an environment variable."""
    account = {"VOCALSEP_API_KEY": KEY, "VOCALSEP_BASE_URL": emulator.url}
    env: dict[str, str | None] = {"NO_COLOR": "1", "COLUMNS": "200", **account, **(environ or {})}
    with restored_signals():
        result = CliRunner().invoke(app, list(map(str, words)), env=env)
    assert KEY not in result.output
    return result


def assert_error(result: Result, *words: str, status: int = 2) -> None:
    """Check that a command printed one error line, and nothing else."""
    assert isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, result.stdout) == (status, "")
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr


def signal_before_the_loop(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals = signal.SIGTERM
) -> None:
    """Send a signal to the next command just before its event loop runs."""
    run = anyio.run

    def run_after_signal(*arguments: Any) -> Any:
        os.kill(os.getpid(), number)
        return run(*arguments)

    monkeypatch.setattr(anyio, "run", run_after_signal)
