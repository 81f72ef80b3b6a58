"""A thread of one's own: what it is given is done in order, and it never holds anything up."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from uuid import uuid4

import pytest

from vocalsep_async._journal.thread import Thread

FORGETFUL = """
from vocalsep_async._journal.thread import Thread
import threading
thread, done = Thread("left-open"), threading.Event()
thread.do(done.set)
done.wait()
"""


@pytest.fixture
def name() -> str:
    """What no other thread is called."""
    return uuid4().hex


@pytest.fixture
def thread(name: str) -> Iterator[Thread]:
    made = Thread(name)
    yield made
    made.close()


def wait_for_the_end_of(name: str) -> None:
    for each in threading.enumerate():
        if each.name == name:
            each.join(timeout=60)
    assert name not in {each.name for each in threading.enumerate()}


def test_all_is_done_in_its_order_and_elsewhere(thread: Thread, name: str) -> None:
    done: list[int] = []
    where: set[str] = set()
    over = threading.Event()
    for number in range(1000):
        thread.do(partial(done.append, number))
    thread.do(lambda: where.add(threading.current_thread().name))
    thread.do(over.set)
    assert over.wait(timeout=60)
    assert done == list(range(1000))
    assert where == {name}


def test_what_was_given_before_it_was_closed_is_done_and_then_it_ends(name: str) -> None:
    gate, done = threading.Event(), threading.Event()
    thread = Thread(name)
    thread.do(partial(gate.wait, 10))
    thread.do(done.set)
    thread.close()
    thread.close()
    assert not done.is_set()
    gate.set()
    wait_for_the_end_of(name)
    assert done.is_set()


def test_a_thread_that_nobody_holds_ends(name: str) -> None:
    thread = Thread(name)
    thread.do(lambda: None)
    del thread
    wait_for_the_end_of(name)


def test_a_program_ends_though_a_thread_was_left_open() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORGETFUL], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
