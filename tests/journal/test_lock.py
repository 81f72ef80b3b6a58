"""The lock of a journal: a second writer is refused, and no lock outlives its process."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from journal.contents import made, opened, opening_error, rows_in

from vocalsep_async import JournalError
from vocalsep_async._journal.lock import JournalLock
from vocalsep_async._journal.store import Store

IN_USE = "is in use by {}; wait for it, or use another journal"
HERE = IN_USE.format("another batch of this process")
UNKNOWN = IN_USE.format("another batch or process")
HOLDER = """
import sys
from pathlib import Path
from vocalsep_async._journal.store import Store
store = Store.open(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""

PARENT = """
import os, sys, time
from pathlib import Path
from vocalsep_async._journal.store import Store
store = Store.open(Path(sys.argv[1]))
child = os.fork()
if child == 0:
    if sys.argv[2] == "closes its copy":
        store.close()
    os.write(1, b"child\\n")
    sys.stdin.read()
    os._exit(0)
os.write(1, b"parent\\n")
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.journal"


def lock_beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def descriptors() -> set[str]:
    return {each.name for each in Path("/dev/fd").iterdir()}


@contextmanager
def held_elsewhere(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the journal open."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            yield process
        finally:
            process.kill()


def test_a_second_writer_in_the_same_process_is_refused(path: Path) -> None:
    with opened(path):
        assert opening_error(path) == f"{path} {HERE}"
        assert opening_error(path) == f"{path} {HERE}"


def test_a_second_writer_in_another_process_is_refused_until_the_first_is_killed(
    path: Path,
) -> None:
    with held_elsewhere(path) as holder:
        process = f"process {holder.pid}"
        assert opening_error(path) == f"{path} {IN_USE.format(process)}"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with opened(path) as store:
        assert store.tasks() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process is forked here")
@pytest.mark.parametrize("child", ["lives on", "closes its copy"])
def test_a_forked_child_neither_holds_nor_releases_the_lock(path: Path, child: str) -> None:
    command = [sys.executable, "-c", PARENT, str(path), child]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert {parent.stdout.readline(), parent.stdout.readline()} == {b"child\n", b"parent\n"}
        assert opening_error(path) == f"{path} {IN_USE.format(f'process {parent.pid}')}"
        parent.kill()
        os.waitid(os.P_PID, parent.pid, os.WEXITED | os.WNOWAIT)
        # The child waits for the end of our standard input.
        with opened(path) as store:
            assert store.tasks() == []


@pytest.mark.parametrize("code", ["ENOLCK", "EOPNOTSUPP", "ENOSYS", "EINVAL"])
def test_a_file_system_without_locks_is_named_and_nothing_is_left_on_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    number = getattr(errno, code)

    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    before = descriptors()
    assert opening_error(path) == (
        f"the file system of {path} has no locks ({os.strerror(number)}): put the journal on a "
        "local disk"
    )
    assert list(path.parent.iterdir()) == []
    assert descriptors() == before


def test_a_fault_of_the_disk_is_no_missing_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    before = descriptors()
    assert opening_error(path).startswith(f"the journal {path}: {os.strerror(errno.EIO)}; check")
    assert list(path.parent.iterdir()) == []
    assert descriptors() == before


@pytest.mark.parametrize("code", ["EWOULDBLOCK", "EACCES"])
def test_a_lock_that_is_held_is_no_missing_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    number = getattr(errno, code)

    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert opening_error(path) == f"{path} {UNKNOWN}"


def test_a_lock_file_that_cannot_be_removed_is_released(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: Path, **_arguments: bool) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    before = descriptors()
    with monkeypatch.context() as patch, opened(path):
        patch.setattr(Path, "unlink", fail)
    assert lock_beside(path).exists()
    assert descriptors() == before
    with opened(path) as store:
        assert store.tasks() == []


def test_all_names_of_a_journal_share_one_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(path)
    (path.parent / "folder").symlink_to(path.parent)
    (path.parent / "link").symlink_to(path)
    monkeypatch.chdir(path.parent)
    with opened(path):
        assert HERE in opening_error(Path(path.name))
        assert HERE in opening_error(path.parent / "folder" / path.name)
        assert HERE in opening_error(path.parent / "link")


def test_two_journals_in_one_directory_have_locks_of_their_own(path: Path) -> None:
    with opened(path), opened(path.with_name("other.journal")) as other:
        assert other.tasks() == []


def test_a_reader_takes_no_lock(path: Path) -> None:
    made(path)
    with closing(Store.read(path)):
        assert not lock_beside(path).exists()
        with opened(path):
            assert rows_in(path) == []


def test_a_lock_file_is_private_and_removed_with_the_writer(path: Path) -> None:
    with opened(path):
        assert stat.S_IMODE(lock_beside(path).stat().st_mode) == 0o600
    assert not lock_beside(path).exists()


def test_the_lock_file_of_a_killed_process_is_taken_over(path: Path) -> None:
    lock_beside(path).write_bytes(b"left")
    with opened(path):
        assert HERE in opening_error(path)
    assert not lock_beside(path).exists()


def test_a_refused_journal_leaves_no_lock_file(path: Path) -> None:
    path.write_text("no journal", encoding="ascii")
    opening_error(path)
    assert not lock_beside(path).exists()


def test_a_second_release_does_not_release_the_lock_of_the_next_holder(path: Path) -> None:
    first = JournalLock(path)
    first.release()
    second = JournalLock(path)
    first.release()
    with pytest.raises(JournalError, match=HERE):
        JournalLock(path)
    second.release()


@pytest.mark.parametrize(
    "text, holder",
    [
        (b"", "another batch or process"),
        (b"\xff\xfe", "another batch or process"),
        (b"one two", "another batch or process"),
        (b"-7 HOST", "another batch or process"),
        (b"99999999999999999999 HOST", "another batch or process"),
        (b"1 HOST", "process 1"),
        (b"12 elsewhere\x1b", "process 12 on elsewhere\\x1b"),
    ],
)
def test_what_a_lock_file_says_of_its_holder_is_believed_where_it_can_be_true(
    path: Path, text: bytes, holder: str
) -> None:
    lock = JournalLock(path)
    lock_beside(path).write_bytes(text.replace(b"HOST", platform.node().encode()))
    assert opening_error(path) == f"{path} {IN_USE.format(holder)}"
    lock.release()


def test_a_process_that_was_killed_is_not_named_as_the_holder(path: Path) -> None:
    with held_elsewhere(path) as holder:
        holder.kill()
        holder.wait()
    assert lock_beside(path).read_text(encoding="ascii").startswith(f"{holder.pid} ")
    left = lock_beside(path).read_bytes()
    lock = JournalLock(path)
    # As if it had not written its own text yet.
    lock_beside(path).write_bytes(left)
    assert opening_error(path) == f"{path} {UNKNOWN}"
    lock.release()


def test_a_process_of_another_user_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_allowed(_pid: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", not_allowed)
    lock = JournalLock(path)
    lock_beside(path).write_text(f"12 {platform.node()}", encoding="ascii")
    assert opening_error(path) == f"{path} {IN_USE.format('process 12')}"
    lock.release()


def test_a_lock_is_taken_on_a_disk_that_has_no_room_for_its_text(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", full)
    lock = JournalLock(path)
    assert opening_error(path) == f"{path} {UNKNOWN}"
    lock.release()


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
def test_a_lock_file_that_is_removed_while_it_is_locked_gives_no_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, replaced: bool
) -> None:
    flock = fcntl.flock

    def last_moment(descriptor: int, operation: int) -> None:
        lock_beside(path).unlink()
        if replaced:
            lock_beside(path).touch()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", last_moment)
    with pytest.raises(JournalError, match=UNKNOWN):
        JournalLock(path)


def test_a_file_system_without_locks_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert str(path) in opening_error(path)
    assert not path.exists()


def test_the_error_names_what_keeps_a_lock_from_being_taken(path: Path) -> None:
    lock_beside(path).mkdir()
    assert opening_error(path) == (
        f"the journal {path}: {os.strerror(errno.EISDIR)} ({lock_beside(path)}); use another path"
    )


def test_a_refused_writer_leaves_no_descriptor_open(path: Path) -> None:
    with opened(path):
        before = descriptors()
        opening_error(path)
        assert descriptors() == before


def test_two_writers_never_hold_the_lock_simultaneously(path: Path) -> None:
    held, together = [], []

    def come_and_go() -> None:
        for _ in range(50):
            try:
                lock = JournalLock(path)
            except JournalError:
                continue
            held.append(lock)
            try:
                together.append(JournalLock(path))
            except JournalError:
                lock.release()

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for lock in together:
        lock.release()
    assert held
    assert together == []
