"""A client whose path to the server fails, for tests; run it with ``unshare -rn``.

    unshare -rn python tests/network_program.py silence

It prints what happened as JSON, or why this machine cannot tell.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from contextlib import suppress
from typing import Any

import aiohttp
from network import SENT, TOGETHER, Network, NoNetworkError, Server
from yarl import URL

from vocalsep_async import RateLimit, RequestTimeoutError, TransportError, VocalSepClient
from vocalsep_async._transport.files import FileTransport
from vocalsep_async.instrumentation import RequestRetried

CALLS = TOGETHER // 2
LONG = 600.0
"""Seconds; longer than any test."""
ORPHANED = 6.0
"""Seconds after which the system would have sent what was given up: it repeats it ever more slowly,
but never waits for more than the time that the silence has lasted."""


async def create(client: VocalSepClient) -> object:
    return await client.create_task(
        callback_url="https://callback.example/", audio_url="https://a.example/a.mp3"
    )


async def silence(network: Network, server: Server) -> dict[str, Any]:
    """Requests are given up while the link is silent, and it returns."""
    sent: list[str] = []

    async def note(_session: object, _context: object, headers: Any) -> None:
        sent.append(headers.url.query.get("taskId", headers.method))

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(note)
    options: dict[str, Any] = {"base_url": server.url, "rate_limit": RateLimit(1000, 1.0)}
    async with (
        VocalSepClient("a-key", request_timeout=3, **options) as hasty,
        VocalSepClient("a-key", request_timeout=LONG, trace_configs=[trace], **options) as client,
    ):
        # Connections that are open when the silence begins.
        await asyncio.gather(*(client.get_task("together") for _ in range(TOGETHER)))
        await hasty.get_task("before")
        before = Counter(server.arrived)
        sent.clear()
        network.silence()
        polls = [client.get_task("given-up") for _ in range(CALLS)]
        creations = [create(client) for _ in range(CALLS)]
        calls: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(call) for call in (*polls, *creations)
        ]
        error: Exception | None = None
        try:
            await create(hasty)
        except RequestTimeoutError as timeout:
            error = timeout
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        given_up = sorted(sent)
        network.restore()
        await client.get_task("after")
        await asyncio.sleep(ORPHANED)
    arrived = Counter(server.arrived) - before
    return {
        "given_up": given_up,
        "arrived": sorted(arrival.task_id or arrival.method for arrival in arrived.elements()),
        "notes": getattr(error, "__notes__", []),
    }


async def forgetting(network: Network, server: Server) -> dict[str, Any]:
    """Something on the path forgets the connections."""
    retried: list[str] = []

    def note(event: object) -> None:
        if isinstance(event, RequestRetried):
            retried.append(str(event.error))

    client = VocalSepClient(
        "a-key", base_url=server.url, rate_limit=None, request_timeout=LONG, on_event=note
    )
    files = FileTransport(URL(server.url), user_agent="x", read_timeout=LONG, rules=None)
    async with client:
        await client.get_task("before")
        async with files.get(f"{server.url}/file", {}) as reply:
            received = 0
            while received < SENT:
                received += len(await reply.read())
            for port in server.ports:
                network.forget(port)
            first = asyncio.ensure_future(client.get_task("forgotten"))
            slow = asyncio.ensure_future(client.get_task("slow"))
            rest: str | None = None
            try:
                await reply.read()
            except TransportError as error:
                rest = str(error)
        await asyncio.wait([first, slow])
        await files.aclose()
    arrived = [arrival.task_id for arrival in server.arrived]
    return {
        "retried": retried,
        "succeeded": [first.result().succeeded, slow.result().succeeded],
        "slow": arrived.count("slow"),
        "file": rest,
    }


def main(scenario: str) -> dict[str, Any]:
    scenarios = {"silence": silence, "forgetting": forgetting}
    try:
        with Network() as network, Server(network) as server, network.inside("client"):
            return asyncio.run(scenarios[scenario](network, server))
    except NoNetworkError as error:
        return {"impossible": str(error)}


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        json.dump(main(*sys.argv[1:]), sys.stdout)
