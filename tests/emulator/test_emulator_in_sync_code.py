"""An emulator in code without an event loop: a ``with`` block, threads and forked processes."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from emulator.hook import Hook, until

from vocalsep_async.emulator import Emulator, Fault
from vocalsep_async.emulator import emulator as emulator_module
from vocalsep_async.emulator.serving_thread import ServingThread
from vocalsep_async.errors import ConfigurationError, InvalidArgumentError


def code_of(emulator: Emulator) -> int:
    request = urllib.request.Request(
        f"{emulator.url}/api/v1/generate/credit", headers={"Authorization": "Bearer a-key"}
    )
    with urllib.request.urlopen(request) as reply:
        code: int = json.load(reply)["code"]
        return code


def is_listening(emulator: Emulator) -> bool:
    port = int(emulator.url.rpartition(":")[2])
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def threads() -> set[str]:
    return {each.name for each in threading.enumerate()}


def test_an_emulator_serves_the_block_of_a_program_without_a_loop() -> None:
    with Emulator() as emulator:
        assert code_of(emulator) == 200
        assert len(emulator.requests) == 1
        assert "vocalsep-emulator" in threads()
    assert not is_listening(emulator)
    assert "vocalsep-emulator" not in threads()


def test_an_emulator_can_be_steered_from_the_block() -> None:
    with Emulator() as emulator:
        emulator.inject(Fault.MAINTENANCE)
        assert code_of(emulator) == 455
        task_id = emulator.add_task()
        emulator.finish(task_id)

        async def wait() -> bool:
            async with emulator.client() as client:
                return (await client.wait_for_task(task_id)).succeeded

        assert asyncio.run(wait())


@pytest.mark.anyio
async def test_an_emulator_of_a_sync_block_posts_callbacks() -> None:
    async with Hook().listening() as hook:
        with Emulator() as emulator:
            emulator.finish(emulator.add_task(callback_url=hook.url))
            await until(lambda: bool(emulator.posted))
    assert [each.http_status for each in emulator.posted] == [200]


def test_an_error_in_the_block_closes_the_emulator_and_is_raised() -> None:
    with pytest.raises(ZeroDivisionError), Emulator() as emulator:
        _ = 1 / 0
    assert not is_listening(emulator)
    assert "vocalsep-emulator" not in threads()


def test_a_port_in_use_is_an_error_of_the_block_and_leaves_no_thread() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        emulator = Emulator(port=server.getsockname()[1])
        with pytest.raises(OSError, match=r"(?i)address already in use"), emulator:
            pass
    assert "vocalsep-emulator" not in threads()


def test_an_emulator_that_runs_does_not_start_in_a_second_block() -> None:
    with Emulator() as emulator:
        with pytest.raises(ConfigurationError, match="starts only once"), emulator:
            pass
        assert code_of(emulator) == 200
    assert not is_listening(emulator)
    with pytest.raises(ConfigurationError, match="starts only once"), emulator:
        pass


@pytest.mark.anyio
async def test_an_emulator_of_a_sync_block_is_closed_by_its_block_alone() -> None:
    with Emulator() as emulator:
        with pytest.raises(ConfigurationError, match="leave the block that started it"):
            await emulator.aclose()
        assert is_listening(emulator)
    assert not is_listening(emulator)
    await emulator.aclose()


def test_leaving_a_block_that_was_never_entered_does_nothing() -> None:
    Emulator().__exit__(None, None, None)


def test_tasks_and_faults_can_be_added_by_many_threads() -> None:
    def add(number: int) -> bool:
        emulator.inject(Fault.SERVER_ERROR)
        emulator.expire_uploads()
        emulator.expire_links()
        emulator.add_task(duration=0)
        try:
            emulator.add_task(f"shared-{number % 10}")
        except InvalidArgumentError:
            return False
        return True

    with Emulator() as emulator, ThreadPoolExecutor(8) as pool:
        added = list(pool.map(add, range(80)))
        assert sum(added) == 10
        assert len(set(emulator.tasks)) == 90
        assert {code_of(emulator) for _ in range(3)} == {500}


class Context:
    """A context whose entry waits, and whose exit fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.entering = threading.Event()
        self.go_on = threading.Event()
        self.left = threading.Event()
        self.error = error

    async def __aenter__(self) -> None:
        self.entering.set()
        self.go_on.wait()

    async def __aexit__(self, *_: object) -> None:
        self.left.set()
        if self.error is not None:
            raise self.error


def test_what_closing_raises_is_raised_in_the_block() -> None:
    context = Context(OSError("no"))
    context.go_on.set()
    thread = ServingThread(lambda: context, "test")
    thread.open()
    with pytest.raises(OSError, match="no"):
        thread.close()


def test_ctrl_c_while_an_emulator_starts_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context()
    thread = ServingThread(lambda: context, "test")

    def interrupted() -> None:
        context.entering.wait()
        context.go_on.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(thread._is_open, "result", interrupted)
    monkeypatch.setattr(thread._thread, "join", context.left.wait)
    with pytest.raises(KeyboardInterrupt):
        thread.open()
    assert context.left.is_set()


# In a process that was forked

REFUSED: list[Callable[[Emulator], object]] = [
    lambda emulator: emulator.requests,
    lambda emulator: emulator.posted,
    lambda emulator: emulator.tasks,
    lambda emulator: emulator.credits_left,
    lambda emulator: emulator.add_task(),
    lambda emulator: emulator.add_song(),
    lambda emulator: emulator.finish("one"),
    lambda emulator: emulator.fail("one"),
    lambda emulator: emulator.post_callback("one"),
    lambda emulator: emulator.inject(Fault.HTML),
    lambda emulator: emulator.expire_links(),
    lambda emulator: emulator.expire_uploads(),
    lambda emulator: setattr(emulator, "maintenance", True),
]


@pytest.mark.parametrize("use", REFUSED)
def test_an_emulator_cannot_be_steered_from_a_process_that_was_forked(
    use: Callable[[Emulator], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Emulator() as emulator:
        with monkeypatch.context() as forked:
            forked.setattr(os, "getpid", lambda: -1)
            with pytest.raises(ConfigurationError, match="only its url and client"):
                use(emulator)
            assert emulator.client(base_url=emulator.url).base_url == emulator.url
            assert repr(emulator).startswith("<Emulator of sunoapi")
        assert not emulator.maintenance


@pytest.mark.anyio
async def test_closing_in_a_process_that_was_forked_does_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Emulator() as emulator:
        with monkeypatch.context() as forked:
            forked.setattr(os, "getpid", lambda: -1)
            await emulator.aclose()
        assert is_listening(emulator)


def test_leaving_the_block_in_a_process_that_was_forked_does_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Emulator() as emulator:
        thread = emulator._thread
        assert thread is not None
        with monkeypatch.context() as forked:
            forked.setattr(os, "getpid", lambda: -1)
            emulator.__exit__(None, None, None)
        assert is_listening(emulator)
        thread.close()
    assert not is_listening(emulator)


def test_a_process_that_was_forked_closes_the_ports_that_it_inherits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        monkeypatch.setattr(emulator_module, "_listening", {inherited})
        emulator_module._stop_listening()
        assert inherited.fileno() == -1


PROGRAM = """
import os, sys
from vocalsep_async.emulator import Emulator

with Emulator() as emulator:
    child = os.fork()
    if child == 0:
        # Leaves the block, as a worker does that raises or returns.
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert emulator.add_task() in emulator.tasks

waiting, end = os.pipe()
running, runs = os.pipe()
with Emulator() as emulator:
    child = os.fork()
    if child == 0:
        os.write(runs, b"!")
        os.close(end)
        os.read(waiting, 1)
        os._exit(0)
    os.read(running, 1)
    port = int(emulator.url.rpartition(":")[2])
import socket
assert socket.socket().connect_ex(("127.0.0.1", port)) != 0, "the child still listens"
os.close(end)
os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_process_that_was_forked_leaves_the_block_and_keeps_no_port() -> None:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")


def test_a_process_ends_although_a_block_was_never_left() -> None:
    program = (
        "from vocalsep_async.emulator import Emulator\n"
        "emulator = Emulator().__enter__()\n"
        "assert emulator.url"
    )
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")
