"""A development server of Temporal, where one is installed, and workers as processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

PATIENCE = 240.0
"""Seconds for one test, which takes twenty, on a busy machine."""


def executable() -> str | None:
    """The command line of Temporal, on the path or beside this Python."""
    beside = Path(sys.executable).parent
    return shutil.which("temporal", path=os.pathsep.join([str(beside), os.environ["PATH"]]))


needs_server = pytest.mark.skipif(
    executable() is None, reason="needs the command `temporal`, which has a development server"
)


@asynccontextmanager
async def temporal_server() -> AsyncIterator[Client]:
    """A client of a server of its own; nothing is fetched to have one."""
    environment = await WorkflowEnvironment.start_local(
        dev_server_existing_path=executable(), dev_server_log_level="error"
    )
    # What waits for a worker that has failed would wait without end.
    async with environment, asyncio.timeout(PATIENCE):
        yield environment.client


async def until(condition: Callable[[], object]) -> None:
    """Wait until *condition* holds."""
    while not condition():  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.05)


@contextmanager
def worker(folder: Path, program: str, environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A worker as a process, whose output is in *folder*; it is killed at the end."""
    log = folder / "worker.log"
    with log.open("a", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, program],
            cwd=folder,
            env=environ,
            stdout=output,
            stderr=output,
            text=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
