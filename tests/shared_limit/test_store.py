"""`RedisLimiter` and its connection to a real store, on real sockets."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
import redis.asyncio
from stores import StoreServer

from vocalsep_async import Bid, ConfigurationError, RateLimit, SlotResult
from vocalsep_async._learned import SharedDurations
from vocalsep_async._scheduling.counts import DurationCounts
from vocalsep_async.contrib._redis.protocol import Call, decoded
from vocalsep_async.contrib._redis.store import (
    Store,
    StoreLostError,
    StoreRefusedError,
    client_of,
)
from vocalsep_async.contrib.redis import RedisLimiter

pytestmark = pytest.mark.anyio

FAST = RateLimit(20, 0.5)


ONE_LOOP_AFTER_THE_OTHER = """
import asyncio, gc, sys
from vocalsep_async import Bid, RateLimit, SlotResult
from vocalsep_async.contrib.redis import RedisLimiter

limiter = RedisLimiter(sys.argv[1], account="a", rate_limit=RateLimit(100, 1.0))

async def work(moves):
    if moves:
        limiter.move(0.0)
    slot = await limiter.acquire(lambda: Bid(must=True))
    slot.release(SlotResult.ANSWERED)

for number in range(4):
    asyncio.run(work(number > 0))
    gc.collect()
"""
"""A limiter at module level, which nothing closes."""


def make_limiter(store: Any, limit: RateLimit = FAST, **options: Any) -> RedisLimiter:
    return RedisLimiter(store, account="a", rate_limit=limit, **options)


def must() -> Bid:
    return Bid(must=True)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until *condition* is true, which nothing here announces."""
    while not condition():  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.01)


def send_to(client: Any, *command: str) -> Any:
    return client.execute_command(*command)


async def send(limiter: RedisLimiter) -> None:
    (await limiter.acquire(must)).release(SlotResult.ANSWERED)


def commands(server: StoreServer) -> dict[str, int]:
    with redis.Redis.from_url(server.url) as client:
        found = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): each["calls"] for name, each in found.items()}


WINDOW = "{vocalsep:a}:window"
SHIFTED = """
import asyncio, sys
from vocalsep_async import Bid, RateLimit, SlotResult
from vocalsep_async.contrib.redis import RedisLimiter

async def main():
    limiter = RedisLimiter(sys.argv[1], account="a", rate_limit=RateLimit(100, 1000.0))
    loop = asyncio.get_running_loop()
    shift, clock = float(sys.argv[2]), loop.time
    loop.time = lambda: clock() + shift
    slot = await limiter.acquire(lambda: Bid(must=True))
    slot.release(SlotResult.ANSWERED)
    await limiter.aclose()

asyncio.run(main())
"""
"""One request of a process whose clock is wrong by so many seconds."""


class Proxy:
    """Passes bytes on to a store, as late as it is told, and may cut connections."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.delay = 0.0
        self.cut_answers = 0
        """How many of the next answers of scripts are cut instead of passed on."""
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            above, up = await asyncio.open_unix_connection(self._path)
            try:
                await asyncio.gather(self._ask(reader, up), self._answer(above, writer))
            finally:
                up.close()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _ask(self, reader: asyncio.StreamReader, up: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await asyncio.sleep(self.delay)
            up.write(data)
        raise ConnectionError

    async def _answer(self, above: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await above.read(1 << 16):
            await asyncio.sleep(self.delay)
            if self.cut_answers and data.startswith(b"*14\r\n"):
                self.cut_answers -= 1
                raise ConnectionError
            writer.write(data)
        raise ConnectionError


@asynccontextmanager
async def proxied(server: StoreServer) -> AsyncIterator[Proxy]:
    proxy = Proxy(server.path)
    listening = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}/0"
    try:
        yield proxy
    finally:
        listening.close()
        for task in list(proxy._tasks):
            task.cancel()
        await asyncio.sleep(0)


# The connection


async def test_a_slot_costs_one_command(store: StoreServer) -> None:
    limiter = make_limiter(store.url, RateLimit(1000, 1.0))
    await send(limiter)
    before = commands(store).get("evalsha", 0)
    for _ in range(20):
        await send(limiter)
    assert commands(store)["evalsha"] - before <= 24
    await limiter.aclose()


async def test_the_script_is_loaded_again_once_after_it_was_flushed(store: StoreServer) -> None:
    limiter = make_limiter(store.url)
    await send(limiter)
    before = commands(store)["eval"]
    with redis.Redis.from_url(store.url) as client:
        client.script_flush()
    for _ in range(5):
        await send(limiter)
    assert commands(store)["eval"] - before == 1
    assert limiter.snapshot().losses == 0
    await limiter.aclose()


async def test_requests_survive_a_restart_of_the_store(
    own_store: StoreServer, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = make_limiter(own_store.url)
    for _ in range(5):
        await send(limiter)
    own_store.kill()
    own_store.start()
    for _ in range(5):
        await send(limiter)
    assert limiter.snapshot().losses == 1
    assert "has lost its data" in caplog.text
    await limiter.aclose()


async def test_requests_survive_a_store_that_is_killed_and_comes_back(
    own_store: StoreServer,
) -> None:
    limiter = make_limiter(own_store.url, on_store_loss="wait")
    await send(limiter)
    own_store.kill()
    waiting = asyncio.ensure_future(send(limiter))
    await until(lambda: limiter.snapshot().mode == "waiting")
    assert not waiting.done()
    own_store.start()
    await waiting
    assert limiter.snapshot().mode == "shared"
    await limiter.aclose()


async def test_a_store_that_hangs_is_noticed_and_its_backlog_grants_nothing(
    own_store: StoreServer,
) -> None:
    limiter = make_limiter(own_store.url, RateLimit(10, 60.0), on_store_loss="wait")
    await send(limiter)
    own_store.stop()
    waiting = asyncio.ensure_future(send(limiter))
    await until(lambda: limiter.snapshot().mode == "waiting")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    own_store.resume()
    await until(lambda: limiter.snapshot().mode == "shared")
    await until(lambda: not limiter._budget.reports.are_waiting)
    with redis.Redis.from_url(own_store.url) as client:
        assert client.zcard(WINDOW) == 1
    await limiter.aclose()


@pytest.mark.parametrize("retries", [0, 5])
async def test_answers_that_get_lost_cost_no_slots(retries: int, store: StoreServer) -> None:
    async with proxied(store) as proxy:
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        client = redis.asyncio.Redis.from_url(proxy.url, retry=Retry(NoBackoff(), retries))
        limiter = make_limiter(client, RateLimit(1000, 600.0))
        for _ in range(4):
            proxy.cut_answers = 1
            await send(limiter)
            assert proxy.cut_answers == 0
        await limiter.aclose()
        await client.aclose()
    with redis.Redis.from_url(store.url) as reader:
        assert reader.zcard(WINDOW) == 4


async def test_a_wait_may_be_cancelled_at_every_await_on_a_slow_link(store: StoreServer) -> None:
    async with proxied(store) as proxy:
        limiter = make_limiter(proxy.url, RateLimit(1000, 600.0))
        proxy.delay = 0.05
        for step in range(0, 30, 2):
            waiting = asyncio.ensure_future(limiter.acquire(must))
            # Each turn of the loop is an await; then the link's moments.
            for _ in range(step):
                await asyncio.sleep(0.0 if step < 12 else 0.01)
            waiting.cancel()
            (slot,) = await asyncio.gather(waiting, return_exceptions=True)
            if not isinstance(slot, BaseException):
                slot.release(SlotResult.UNUSED)
        proxy.delay = 0.0
        slot = await limiter.acquire(must)
        await until(lambda: not limiter._budget.reports.are_waiting)
        with redis.Redis.from_url(store.url) as reader:
            assert reader.zcard(WINDOW) == 1
        assert limiter.snapshot().in_flight == 1
        slot.release(SlotResult.ANSWERED)
        await limiter.aclose()


async def test_a_store_whose_user_may_not_read_the_time_is_an_error_at_the_start(
    own_store: StoreServer,
) -> None:
    with redis.Redis.from_url(own_store.url) as client:
        client.acl_setuser(
            "limited",
            enabled=True,
            passwords=["+pw"],
            categories=["+@all"],
            keys=["*"],
            commands=["-time"],
        )
    limiter = make_limiter(f"unix://limited:pw@{own_store.path}")
    with pytest.raises(ConfigurationError) as caught:
        await limiter.acquire(must)
    assert "time" in str(caught.value).lower()
    assert "pw" not in str(caught.value)
    await limiter.aclose()


async def test_a_wrong_password_is_an_error_at_the_start(own_store: StoreServer) -> None:
    limiter = make_limiter(f"unix://user:wrong@{own_store.path}")
    with pytest.raises(ConfigurationError, match="refuses the rate limiter") as caught:
        await limiter.acquire(must)
    assert "wrong@" not in str(caught.value)
    await limiter.aclose()


async def test_a_cluster_runs_the_script(program: str) -> None:
    with StoreServer(program, "--cluster-enabled", "yes") as server:
        with redis.Redis.from_url(server.url) as client:
            send_to(client, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            await until(lambda: b"cluster_state:ok" in send_to(client, "CLUSTER", "INFO"))
        limiter = make_limiter(server.url)
        for _ in range(3):
            await send(limiter)
        await limiter.aclose()


async def test_a_store_that_cannot_serve_at_the_moment_is_away(own_store: StoreServer) -> None:
    call = Call(process="p", number=1, limit=FAST)
    client = client_of(own_store.url)
    store = Store(client, "a", is_borrowed=True)
    assert decoded(await store.ask(call.arguments(0.0))) is not None
    await client.config_set("maxmemory", "1")
    with pytest.raises(StoreLostError):
        await store.ask(call.arguments(0.0))
    await client.config_set("maxmemory", "0")
    await send_to(client, "REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(StoreLostError):
        await store.ask(call.arguments(0.0))
    await send_to(client, "REPLICAOF", "NO", "ONE")
    with pytest.raises(StoreRefusedError):
        await store.ask(["p", "1", "no number", *call.arguments(0.0)[3:]])
    await store.aclose()
    await client.aclose()


async def test_a_store_that_loads_its_data_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loading:
        async def evalsha(self, *_: object) -> object:
            raise redis.exceptions.BusyLoadingError("LOADING the dataset is loading")

    store = Store(Loading(), "a", is_borrowed=True)  # type: ignore[arg-type]
    with pytest.raises(StoreLostError, match="LOADING"):
        await store.ask([])


async def test_durations_are_learned_together(store: StoreServer) -> None:
    limiters, learned = [make_limiter(store.url) for _ in range(2)], []
    for limiter in limiters:
        learned.append(SharedDurations())
        limiter._share_durations(learned[-1], "p")
        await send(limiter)
    counts = DurationCounts()
    counts.observe_completion(0.0, 50.0)
    learned[0]._add(None, counts)
    await until(lambda: learned[1].completions == 1)
    for limiter in limiters:
        await limiter.aclose()


# Loops, and what is written


def test_a_limiter_serves_one_loop_after_the_other(store: StoreServer) -> None:
    limiter = make_limiter(store.url)

    async def work() -> None:
        await send(limiter)
        await limiter.aclose()

    for _ in range(10):
        asyncio.run(work())
    assert limiter.snapshot is not None
    assert limiter._budget.sent == 10


def test_the_connection_of_a_limiter_that_stays_ends_with_each_event_loop(
    store: StoreServer,
) -> None:
    command = [sys.executable, "-W", "error", "-c", ONE_LOOP_AFTER_THE_OTHER, store.url]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with redis.Redis.from_url(store.url) as client:
        assert client.hlen("{vocalsep:a}:processes") == 1
        assert client.zcard(WINDOW) == 4


async def test_a_borrowed_client_stays_with_its_loop(store: StoreServer) -> None:
    client = redis.asyncio.Redis.from_url(store.url)
    limiter = make_limiter(client)
    await send(limiter)
    limiter.move(0.0)
    with pytest.raises(ConfigurationError, match="the URL of the store instead"):
        await limiter.acquire(must)
    await limiter.aclose()
    await client.aclose()


def test_two_processes_share_a_budget_whatever_their_clocks_say(store: StoreServer) -> None:
    shifts = ("-30", "0", "0.2", "30")
    processes = [
        subprocess.Popen([sys.executable, "-c", SHIFTED, store.url, shift]) for shift in shifts
    ]
    assert [process.wait(120) for process in processes] == [0] * 4
    with redis.Redis.from_url(store.url) as client:
        scores = [score for _, score in client.zrange(WINDOW, 0, -1, withscores=True)]
        seconds, micros = client.time()
    assert len(scores) == 4
    now = seconds + micros / 1e6
    assert all(1000 - 100 < score / 1e6 - now <= 1000.01 for score in scores)


async def test_the_store_holds_counters_and_random_names_only(store: StoreServer) -> None:
    limiter = make_limiter(store.url)
    await send(limiter)
    slot = await limiter.acquire(must)
    await send(limiter)
    with redis.Redis.from_url(store.url, decode_responses=True) as client:
        assert sorted(client.keys()) == [
            "{vocalsep:a}",
            "{vocalsep:a}:processes",
            "{vocalsep:a}:window",
        ]
        for key, value in client.hgetall("{vocalsep:a}").items():
            assert key == "probe" or value.isdigit()
        for name, value in client.hgetall("{vocalsep:a}:processes").items():
            assert len(name) == 16
            assert all(part.isdigit() for part in value.split())
    slot.release(SlotResult.ANSWERED)
    await limiter.aclose()


# The extra


def reimport_without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("redis", "_redis.store"):
        monkeypatch.delitem(sys.modules, f"vocalsep_async.contrib.{each}", raising=False)
    monkeypatch.setitem(sys.modules, name, None)
    importlib.import_module("vocalsep_async.contrib.redis")


def test_the_module_without_the_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError, match=r"vocalsep-async\[redis\]"):
        reimport_without("redis", monkeypatch)


def test_another_module_that_is_missing_is_named_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModuleNotFoundError, match="hashlib"):
        reimport_without("hashlib", monkeypatch)
