"""Calls from another thread than that of the client's loop are refused, and change nothing."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from inspect import isawaitable
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeProvider, finished, is_idle, make_client
from virtual_time import VIRTUAL_TIME, VirtualTimeLoop

from vocalsep_async import (
    BatchRunner,
    ConfigurationError,
    SongRunner,
    StemStream,
    VocalSepClient,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class Used:
    """A client in use, with what it hands out."""

    def __init__(self, client: VocalSepClient, batch: BatchRunner, folder: Path) -> None:
        self.client = client
        self.batch = batch
        self.unentered = client.track(["a"])
        self.stream = client.open_stem("a", "vocal")
        self.songs = client.separate_many([])
        self.folder = folder


@asynccontextmanager
async def used(folder: Path) -> AsyncIterator[Used]:
    async with make_client(rate_limit=None) as client, client.track(keep_open=True) as batch:
        yield Used(client, batch, folder)


CLIENT: dict[str, Callable[[Used], Any]] = {
    "__aenter__": lambda used: used.client.__aenter__(),
    "__aexit__": lambda used: used.client.__aexit__(None, None, None),
    "aclose": lambda used: used.client.aclose(),
    "create_task": lambda used: used.client.create_task(
        callback_url="https://callback.example/", audio_url="https://a.example/a.mp3"
    ),
    "download_stems": lambda used: used.client.download_stems("a", used.folder),
    "get_credits": lambda used: used.client.get_credits(),
    "get_task": lambda used: used.client.get_task("a"),
    "notify": lambda used: used.client.notify("a"),
    "open_stem": lambda used: used.client.open_stem("a", "vocal"),
    "poll_once": lambda used: used.client.poll_once("a"),
    "separate": lambda used: used.client.separate("https://a.example/a.mp3"),
    "separate_many": lambda used: used.client.separate_many(["https://a.example/a.mp3"]),
    "stats": lambda used: used.client.stats,
    "track": lambda used: used.client.track(["a"]),
    "upload": lambda used: used.client.upload(b"RIFF"),
    "wait_for_task": lambda used: used.client.wait_for_task("a"),
    "wait_for_tasks": lambda used: used.client.wait_for_tasks(["a"]),
}
BATCH: dict[str, Callable[[Used], Any]] = {
    "__aenter__": lambda used: used.unentered.__aenter__(),
    "__aexit__": lambda used: used.batch.__aexit__(None, None, None),
    "__anext__": lambda used: used.batch.__anext__(),
    "add": lambda used: used.batch.add("a"),
    "close": lambda used: used.batch.close(),
    "notify": lambda used: used.batch.notify("a"),
    "pending_ids": lambda used: used.batch.pending_ids(),
    "stats": lambda used: used.batch.stats,
}
STREAM: dict[str, Callable[[Used], Any]] = {
    "__aenter__": lambda used: used.stream.__aenter__(),
    "__aexit__": lambda used: used.stream.__aexit__(None, None, None),
    "__anext__": lambda used: used.stream.__anext__(),
}
SONGS: dict[str, Callable[[Used], Any]] = {
    "__aenter__": lambda used: used.songs.__aenter__(),
    "__aexit__": lambda used: used.songs.__aexit__(None, None, None),
    "__anext__": lambda used: used.songs.__anext__(),
}
UNBOUND: dict[type, set[str]] = {
    # They read what does not change, or what was learned.
    VocalSepClient: {"base_url", "durations", "from_env"},
    BatchRunner: {"__aiter__"},
    StemStream: {"__aiter__", "content_type", "size", "stem"},
    SongRunner: {"__aiter__", "stats"},
}
"""What belongs to no event loop."""
TABLES: dict[type, dict[str, Callable[[Used], Any]]] = {
    VocalSepClient: CLIENT,
    BatchRunner: BATCH,
    StemStream: STREAM,
    SongRunner: SONGS,
}
CALLS = [
    pytest.param(call, id=f"{kind.__name__}.{name}")
    for kind, table in TABLES.items()
    for name, call in table.items()
]


@pytest.mark.parametrize("kind", TABLES)
def test_every_public_name_is_tried(kind: type) -> None:
    names = {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")}
    asynchronous = {"__aenter__", "__aexit__", "__aiter__", "__anext__"} & set(vars(kind))
    assert set(TABLES[kind]) | UNBOUND[kind] == names | asynchronous


async def _in_a_loop(call: Callable[[], Any]) -> None:
    result = call()
    if isawaitable(result):
        await result


def _without_a_loop(call: Callable[[], Any]) -> None:
    """Call it as a thread without asyncio does, or a library for another event loop."""
    result = call()
    if isawaitable(result):
        _step(result)


def _step(call: Awaitable[Any]) -> None:
    steps = call.__await__()
    try:
        next(steps)
    finally:
        if isinstance(steps, Generator):
            steps.close()


def error_in_thread(call: Callable[[], object]) -> BaseException | None:
    """What *call* raises in a thread of its own."""
    errors: list[BaseException] = []

    def catch() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            errors.append(error)

    thread = threading.Thread(target=catch)
    thread.start()
    thread.join()
    return errors[0] if errors else None


WAYS: dict[str, Callable[[Callable[[], Any]], None]] = {
    "without a loop": _without_a_loop,
    "in a loop of its own": lambda call: asyncio.run(_in_a_loop(call)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("call", CALLS)
async def test_another_thread_is_refused_with_the_calls_that_work(
    provider: FakeProvider, tmp_path: Path, call: Callable[[Used], Any], way: str
) -> None:
    provider.every_answer = finished
    async with used(tmp_path) as everything:
        error = error_in_thread(lambda: WAYS[way](lambda: call(everything)))
        assert isinstance(error, ConfigurationError), error
        assert "loop.call_soon_threadsafe(client.notify, task_id)" in str(error)
        assert "asyncio.run_coroutine_threadsafe(" in str(error)
        # All of it still works in its own loop.
        assert provider.sent == []
        everything.batch.add("a")
        async with everything.unentered as other:
            assert (await anext(other)).succeeded
        assert (await anext(everything.batch)).succeeded
        assert (await everything.client.get_task("a")).succeeded
    assert is_idle()


HARMLESS = (
    # Entered in a loop later.
    *(CLIENT["track"], CLIENT["open_stem"], CLIENT["separate_many"]),
    BATCH["close"],  # nothing runs
)


@pytest.mark.parametrize("call", CALLS)
def test_before_its_first_use_a_client_needs_a_loop_for_what_runs(
    provider: FakeProvider, tmp_path: Path, call: Callable[[Used], Any]
) -> None:
    client = make_client()
    everything = Used(client, client.track(["a"]), tmp_path)
    if call in HARMLESS:
        call(everything)
    else:
        with pytest.raises(ConfigurationError):
            _without_a_loop(lambda: call(everything))
    assert provider.sent == []


async def test_the_calls_that_the_error_names_work(provider: FakeProvider) -> None:
    provider.add("a", 10)
    async with make_client() as client:
        loop = asyncio.get_running_loop()
        wait = asyncio.ensure_future(client.wait_for_task("a"))
        await asyncio.sleep(5)
        futures: list[Any] = []

        def call() -> None:
            loop.call_soon_threadsafe(client.notify, "a")
            futures.append(asyncio.run_coroutine_threadsafe(client.get_task("b"), loop))

        assert error_in_thread(call) is None
        assert (await asyncio.wrap_future(futures[0])).succeeded
        assert (await wait).succeeded


def test_a_batch_that_is_over_can_be_read_without_its_loop(provider: FakeProvider) -> None:
    async def use() -> BatchRunner:
        provider.add("a", 10_000)
        async with make_client() as client, client.track(["a", "b"]) as batch:
            await anext(batch)
        return batch

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        batch = runner.run(use())
    assert batch.pending_ids() == ("a",)
    batch.close()
    with pytest.raises(ConfigurationError, match="needs asyncio"):
        _ = batch.stats
