"""The command line in the process of a test: quick, and open to patches."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from cli.commands import KEY
from typer.testing import CliRunner, Result

from vocalsep_async.cli import app
from vocalsep_async.emulator import Emulator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signals_kept() -> Iterator[None]:
    """Give signals back to whoever heeded them: a command does so to the end of its process."""
    heeded = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)


def call(
    emulator: Emulator, *words: str | Path, environ: dict[str, str | None] | None = None
) -> Result:
    """Run a command to its end; None takes a variable away."""
    account = {"VOCALSEP_API_KEY": KEY, "VOCALSEP_BASE_URL": emulator.url}
    env: dict[str, str | None] = {"NO_COLOR": "1", "COLUMNS": "200", **account, **(environ or {})}
    with signals_kept():
        result = CliRunner().invoke(app, list(map(str, words)), env=env)
    assert KEY not in result.output
    return result


def throttled(result: Result, *words: str, status: int = 2) -> None:
    """It says what is wrong in one sentence, and nothing else."""
    assert isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, result.stdout) == (status, "")
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr


def stopped_before_the_loop_runs(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals = signal.SIGTERM
) -> None:
    """Have the next command told to stop when its event loop does not run yet."""
    run = anyio.run

    def told(*arguments: Any) -> Any:
        os.kill(os.getpid(), number)
        return run(*arguments)

    monkeypatch.setattr(anyio, "run", told)
