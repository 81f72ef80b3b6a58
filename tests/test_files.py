"""Locks on files: one holder at a time, released with its process."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vocalsep_async._files import try_lock, wait_for_lock

HOLDER = """
import os, sys
from vocalsep_async._files import try_lock
print(try_lock(os.open(sys.argv[1], os.O_RDWR)), flush=True)
sys.stdin.read()
"""


@contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def no_locks(_descriptor: int, _operation: int) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_a_file_has_one_lock_at_a_time(path: Path) -> None:
    with opened(path) as one, opened(path) as two:
        assert try_lock(one)
        assert not try_lock(two)


def test_a_held_lock_can_be_taken_again(path: Path) -> None:
    with opened(path) as one:
        assert try_lock(one)
        assert try_lock(one)


def test_a_lock_ends_when_its_file_is_closed(path: Path) -> None:
    with opened(path) as two:
        with opened(path) as one:
            assert try_lock(one)
        assert try_lock(two)


def test_a_lock_ends_with_a_killed_process(path: Path) -> None:
    with opened(path) as ours:
        command = [sys.executable, "-c", HOLDER, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"True\n"
            assert not try_lock(ours)
            holder.send_signal(signal.SIGKILL)
            holder.wait()
        assert try_lock(ours)


def test_without_locks_try_lock_returns_false(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with opened(path) as one:
        assert not try_lock(one)


def test_waiting_for_a_lock_ends_when_it_is_released(path: Path) -> None:
    with opened(path) as waiting:
        order = []

        def wait() -> None:
            wait_for_lock(waiting)
            order.append("locked")

        thread = threading.Thread(target=wait)
        with opened(path) as one:
            assert try_lock(one)
            thread.start()
            order.append("let go")
        thread.join()
        with opened(path) as other:
            assert not try_lock(other)
    assert order == ["let go", "locked"]


def test_without_locks_waiting_for_one_returns_immediately(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with opened(path) as one:
        wait_for_lock(one)
    monkeypatch.undo()
    with opened(path) as other:
        assert try_lock(other)
