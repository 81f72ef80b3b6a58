"""One writer at a time: the second is refused at once, and no lock outlives its process."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from journal.contents import made, opened, refusal, rows_in

from vocalsep_async import JournalError
from vocalsep_async._journal.lock import Lock
from vocalsep_async._journal.store import Store

IN_USE = "is in use by another batch or process"
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
        assert refusal(path) == f"{path} {IN_USE}"
        assert refusal(path) == f"{path} {IN_USE}"


def test_a_second_writer_in_another_process_is_refused_until_the_first_is_killed(
    path: Path,
) -> None:
    with held_elsewhere(path) as holder:
        assert refusal(path) == f"{path} {IN_USE}"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with opened(path) as store:
        assert store.tasks() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process is forked here")
@pytest.mark.parametrize("child", ["lives on", "closes its copy"])
def test_a_child_that_was_forked_neither_holds_the_journal_nor_gives_it_away(
    path: Path, child: str
) -> None:
    command = [sys.executable, "-c", PARENT, str(path), child]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert {parent.stdout.readline(), parent.stdout.readline()} == {b"child\n", b"parent\n"}
        assert refusal(path) == f"{path} {IN_USE}"
        parent.kill()
        os.waitid(os.P_PID, parent.pid, os.WEXITED | os.WNOWAIT)
        # The child waits for the end of our standard input.
        with opened(path) as store:
            assert store.tasks() == []


def test_a_lock_that_cannot_be_removed_is_let_go_of_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path, **_arguments: bool) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    before = descriptors()
    with monkeypatch.context() as patch, opened(path):
        patch.setattr(Path, "unlink", refuse)
    assert lock_beside(path).exists()
    assert descriptors() == before
    with opened(path) as store:
        assert store.tasks() == []


def test_one_journal_has_one_writer_whatever_name_it_is_opened_by(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(path)
    (path.parent / "folder").symlink_to(path.parent)
    (path.parent / "link").symlink_to(path)
    monkeypatch.chdir(path.parent)
    with opened(path):
        assert IN_USE in refusal(Path(path.name))
        assert IN_USE in refusal(path.parent / "folder" / path.name)
        assert IN_USE in refusal(path.parent / "link")


def test_two_journals_in_one_folder_do_not_disturb_each_other(path: Path) -> None:
    with opened(path), opened(path.with_name("other.journal")) as other:
        assert other.tasks() == []


def test_readers_need_no_lock_and_take_none(path: Path) -> None:
    made(path)
    with closing(Store.read(path)):
        assert not lock_beside(path).exists()
        with opened(path):
            assert rows_in(path) == []


def test_a_lock_is_private_and_goes_with_the_writer(path: Path) -> None:
    with opened(path):
        assert stat.S_IMODE(lock_beside(path).stat().st_mode) == 0o600
    assert not lock_beside(path).exists()


def test_a_lock_that_a_killed_process_left_is_taken_over(path: Path) -> None:
    lock_beside(path).write_bytes(b"left")
    with opened(path):
        assert IN_USE in refusal(path)
    assert not lock_beside(path).exists()


def test_a_journal_that_is_refused_leaves_no_lock(path: Path) -> None:
    path.write_text("no journal", encoding="ascii")
    refusal(path)
    assert not lock_beside(path).exists()


def test_letting_go_twice_takes_nothing_from_the_next_holder(path: Path) -> None:
    first = Lock(path)
    first.release()
    second = Lock(path)
    first.release()
    with pytest.raises(JournalError, match=IN_USE):
        Lock(path)
    second.release()


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
def test_a_lock_that_was_removed_while_it_was_taken_is_none(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, replaced: bool
) -> None:
    flock = fcntl.flock

    def last_moment(descriptor: int, operation: int) -> None:
        lock_beside(path).unlink()
        if replaced:
            lock_beside(path).touch()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", last_moment)
    with pytest.raises(JournalError, match=IN_USE):
        Lock(path)


def test_where_there_are_no_locks_a_journal_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert str(path) in refusal(path)
    assert not path.exists()


def test_what_is_in_the_way_of_a_lock_is_said(path: Path) -> None:
    lock_beside(path).mkdir()
    assert refusal(path) == f"the journal {path}: {os.strerror(errno.EISDIR)}"


def test_a_refused_writer_leaves_no_descriptor_open(path: Path) -> None:
    with opened(path):
        before = descriptors()
        refusal(path)
        assert descriptors() == before


def test_of_many_that_come_and_go_never_two_hold_it_at_once(path: Path) -> None:
    held, together = [], []

    def come_and_go() -> None:
        for _ in range(50):
            try:
                lock = Lock(path)
            except JournalError:
                continue
            held.append(lock)
            try:
                together.append(Lock(path))
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
