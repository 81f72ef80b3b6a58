"""Accounts: which clients share one, and for how long a process remembers it."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from types import MethodType
from typing import Any

import pytest
from fakes import FakeProvider, make_client
from virtual_time import VIRTUAL_TIME, VirtualTimeLoop

from vocalsep_async import VocalSepClient, _budget
from vocalsep_async._accounts import ACCOUNTS, Accounts, Identity, has_system_clock
from vocalsep_async._transport.secrets import ApiKey
from vocalsep_async.limiter import RateLimiter
from vocalsep_async.policies import ACCOUNT_MEMORY, MAX_IDLE_ACCOUNTS, RateLimit

pytestmark = pytest.mark.anyio

LIMIT = RateLimit(20, 10.0)


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def account_of(number: int) -> Identity:
    return Identity("api.example", 443, str(number).encode())


async def use(accounts: Accounts, number: int) -> None:
    lease = accounts.join(account_of(number))
    lease.account.budget(LIMIT)
    lease.release()


async def send_once(accounts: Accounts, number: int) -> None:
    """Send a request, whose answer does not come before the client has ended."""
    lease = accounts.join(account_of(number))
    limiter = RateLimiter(LIMIT)
    limiter._share(lease.account.budget(LIMIT))
    await limiter.acquire(lambda: pytest.fail("compared with no other client"))
    await limiter.aclose()
    lease.release()


def jump(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.jump(seconds)


async def test_an_account_is_remembered_for_a_while_and_then_forgotten() -> None:
    accounts = Accounts()
    await use(accounts, 1)
    jump(ACCOUNT_MEMORY - 1)
    await use(accounts, 2)
    assert len(accounts) == 2
    jump(2)
    await use(accounts, 3)
    assert len(accounts) == 2
    jump(ACCOUNT_MEMORY)
    await use(accounts, 4)
    assert len(accounts) == 1


async def test_an_account_in_use_is_not_forgotten() -> None:
    accounts = Accounts()
    lease = accounts.join(account_of(1))
    budget = lease.account.budget(LIMIT)
    jump(10 * ACCOUNT_MEMORY)
    await use(accounts, 2)
    assert accounts.join(account_of(1)).account.budget(LIMIT) is budget


async def test_the_most_recent_of_many_accounts_are_remembered() -> None:
    accounts = Accounts()
    for number in range(200):
        await use(accounts, number)
    assert len(accounts) == MAX_IDLE_ACCOUNTS


async def test_accounts_whose_requests_still_count_are_remembered_however_many_they_are() -> None:
    accounts = Accounts()
    for number in range(200):
        await send_once(accounts, number)
    assert len(accounts) == 200
    jump(11)
    await use(accounts, 200)
    assert len(accounts) == MAX_IDLE_ACCOUNTS


async def test_the_account_of_a_client_that_is_gone_is_forgotten() -> None:
    accounts = Accounts()
    lease = accounts.join(account_of(1))
    del lease
    gc.collect()
    await use(accounts, 2)
    jump(ACCOUNT_MEMORY)
    await use(accounts, 3)
    assert len(accounts) == 1


async def test_a_lease_is_released_once() -> None:
    accounts = Accounts()
    first, second = accounts.join(account_of(1)), accounts.join(account_of(1))
    for _ in range(2):
        first.release()
    jump(ACCOUNT_MEMORY)
    await use(accounts, 2)
    assert second.account is accounts.join(account_of(1)).account


def test_event_loops_share_accounts_unless_they_have_a_clock_of_their_own() -> None:
    accounts = Accounts()

    async def account() -> object:
        return accounts.join(account_of(1)).account

    real = [asyncio.run(account()) for _ in range(2)]
    assert real[0] is real[1]
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        virtual = [runner.run(account()) for _ in range(2)]
    assert virtual[0] is virtual[1] is not real[0]
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(account()) not in (real[0], virtual[0])


def test_a_clock_of_its_own_is_one_that_python_code_tells() -> None:
    class OfThisSystem(asyncio.SelectorEventLoop):
        """Whose clock is that of asyncio."""

    loop = OfThisSystem()
    assert has_system_clock(loop)
    loop.time = lambda: 0.0  # type: ignore[method-assign]
    assert not has_system_clock(loop)
    # As a loop in C has it, or one that another compiler made.
    loop.time = MethodType(abs, -1.0)  # type: ignore[method-assign]
    assert has_system_clock(loop)
    loop.close()


def test_the_accounts_of_an_event_loop_with_its_own_clock_end_with_it(
    provider: FakeProvider,
) -> None:
    before = len(ACCOUNTS)

    async def call() -> None:
        async with make_client() as client:
            await client.get_task("a")

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(call())
        assert len(ACCOUNTS) == before + 1
    del runner
    gc.collect()
    assert len(ACCOUNTS) <= before


def test_keys_are_known_by_a_hash_that_means_nothing_elsewhere() -> None:
    key = "a-key-that-is-shown-nowhere"
    digest = ApiKey(key).digest()
    assert digest == ApiKey(key).digest() != ApiKey(key + "!").digest()
    program = (
        "from vocalsep_async._transport.secrets import ApiKey\n"
        f"print(ApiKey({key!r}).digest().hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert len(done.stdout.strip()) == len(digest.hex())
    assert done.stdout.strip() != digest.hex()


FORKING = """
import asyncio, os, threading
from vocalsep_async import Bid, RateLimit
from vocalsep_async._accounts import ACCOUNTS, Identity
from vocalsep_async._budget import Budget
from vocalsep_async.limiter import RateLimiter

identity = Identity("api.example", 443, b"key")

async def use():
    lease = ACCOUNTS.join(identity)
    limiter = RateLimiter(RateLimit(20, 10.0))
    limiter._share(lease.account.budget(RateLimit(20, 10.0)))
    await limiter.acquire(Bid)
    return limiter, lease

limiter, lease = asyncio.run(use())
held, may_go = threading.Event(), threading.Event()

def hold():
    with ACCOUNTS._lock, limiter._budget._lock:
        held.set()
        may_go.wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if child == 0:
    async def use_again():
        limiter._share(limiter._budget)
        assert not limiter._budget.is_shared
        assert limiter.snapshot().in_flight == 0
        mine, own = await use()
        assert own.account is not lease.account
        lease.release()
        assert len(ACCOUNTS) == 1
    asyncio.run(use_again())
    print("works", flush=True)
    os._exit(0)
os.waitpid(child, 0)
may_go.set()
assert limiter._budget is lease.account.budget(RateLimit(20, 10.0))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
def test_a_forked_process_does_not_wait_for_a_lock_of_its_parents_threads() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "works\n"


async def test_a_process_that_was_forked_begins_without_accounts_and_clients(
    provider: FakeProvider,
) -> None:
    # In one process, because what a forked one runs is not measured.
    accounts = Accounts()
    lease = accounts.join(account_of(1))
    limiter = RateLimiter(RateLimit(1, 10.0))
    budget = lease.account.budget(limiter._budget.limit)
    limiter._share(budget)
    await limiter.acquire(lambda: pytest.fail("compared with no other client"))
    accounts.restart()
    _budget._restart_all()
    assert len(accounts) == 0
    lease.release()
    other = RateLimiter(RateLimit(1, 10.0))
    other._share(budget)
    # What was under way counts as sent.
    assert not isinstance(await other.acquire(lambda: pytest.fail("alone")), float)
    assert asyncio.get_running_loop().time() == pytest.approx(1010.01)


@pytest.mark.own_limiter
def test_a_client_that_moves_joins_those_that_were_there_before(provider: FakeProvider) -> None:
    provider.limit = (1, 10.0)
    moving, settled = (make_client(rate_limit=RateLimit(1, 10.0)) for _ in range(2))
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(moving.get_task("a"))

    async def use_both() -> float:
        jump(100)
        for client in (settled, moving, settled):
            await client.get_task("a")
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(use_both()) == pytest.approx(1120.3, abs=0.1)
    assert provider.throttled == 0


def test_a_client_that_was_never_used_uses_no_account() -> None:
    before = len(ACCOUNTS)
    client = VocalSepClient("a-key-for-tests", base_url="https://never.example")
    assert repr(client).endswith("2.00 requests/s, 0 in flight, 0 sent, 0 throttled>>")
    assert len(ACCOUNTS) == before
