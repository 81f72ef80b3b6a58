"""Callbacks of the emulator, over real sockets, to the receiver of a running service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from aiohttp import web

from vocalsep_async import Interval, VocalSepClient
from vocalsep_async.contrib.aiohttp import CallbackReceiver
from vocalsep_async.emulator import Emulator
from vocalsep_async.providers import KIE, KIE_JOBS, SUNOAPI
from vocalsep_async.webhooks import CallbackUrl

pytestmark = pytest.mark.anyio

KEY = "the webhook key of the account"
PROVIDERS = {"sunoapi": SUNOAPI, "kie": KIE, "kie_jobs": KIE_JOBS}


@asynccontextmanager
async def service(client: VocalSepClient, **options: Any) -> AsyncIterator[CallbackReceiver]:
    """A receiver that the emulator reaches."""
    receivers: list[CallbackReceiver] = []

    async def handle(request: web.Request) -> web.Response:
        return await receivers[0].handle(request)

    app = web.Application()
    app.router.add_route("*", "/hooks/{below:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        # The port is known only now.
        base = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks"
        receivers.append(CallbackReceiver(client, CallbackUrl(base, "a secret"), **options))
        yield receivers[0]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize(
    "options",
    [{}, {"keys": KEY}, {"trust_callbacks": True}],
    ids=["polled", "signed and polled", "trusted"],
)
async def test_a_callback_ends_the_wait_for_a_created_task(name: Any, options: Any) -> None:
    polled = anyio.Event()
    async with (
        Emulator(provider=name, webhook_key=KEY) as emulator,
        VocalSepClient("a-key", base_url=emulator.url, provider=PROVIDERS[name]) as client,
        service(client, **options) as receiver,
    ):
        ref = await client.create_task(
            audio_url="https://example.com/song.mp3", callback_url=receiver.url("order-17")
        )
        assert ref.expects_callback
        wait = asyncio.ensure_future(
            client.wait_for_task(ref, poll=Interval(1000), on_update=lambda _: polled.set())
        )
        with anyio.fail_after(60):
            await polled.wait()
            emulator.finish(ref.task_id)
            task = await wait
    assert task.succeeded
    assert set(dict(task.stems)) == {"vocal", "instrumental"}
    assert receiver.stats.woke == 1
