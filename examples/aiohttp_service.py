"""A web service that separates songs, and is called when they are done; with aiohttp.

    export VOCALSEP_API_KEY=... PUBLIC_URL=https://example.com
    export CALLBACK_SECRET=...  # of python -c 'import secrets; print(secrets.token_urlsafe(32))'
    python examples/aiohttp_service.py
    curl --json '{"audio_url": "https://example.com/song.mp3"}' http://127.0.0.1:8000/separate

Everyone who can reach this service spends your credits: put it behind your own authentication, but
for /callbacks.
"""

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable

import attrs
from aiohttp import web

from vocalsep_async import (
    InvalidArgumentError,
    TaskRef,
    TaskTimeoutError,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async.contrib.aiohttp import CallbackReceiver
from vocalsep_async.webhooks import CallbackUrl

LOG = logging.getLogger(__name__)
CLIENT = web.AppKey("client", VocalSepClient)
RECEIVER = web.AppKey("receiver", CallbackReceiver)
SONG = {"audio_url", "source_task_id", "audio_id"}
TIMEOUT = 300.0  # seconds, longer than most separations; proxies in front have to allow it


async def with_client(app: web.Application) -> AsyncIterator[None]:
    """Open the client when the service starts, and close it when the service ends."""
    async with app[CLIENT]:
        yield


async def separate(request: web.Request) -> web.Response:
    """Create a task, which is billed, and answer with its stems."""
    try:
        song = await request.json()
    except ValueError:
        song = None
    if not isinstance(song, dict) or not song.keys() <= SONG:
        raise InvalidArgumentError(f"the body must be a JSON object with some of {sorted(SONG)}")
    ref = await request.app[CLIENT].create_task(callback_url=request.app[RECEIVER].url(), **song)
    return await answer(request, ref)


async def stems(request: web.Request) -> web.Response:
    """Go on waiting for a task that a request did not see the end of."""
    return await answer(request, TaskRef(request.match_info["task_id"], expects_callback=True))


async def answer(request: web.Request, ref: TaskRef) -> web.Response:
    """Answer with the stems of a task, or with 202 if it has not ended in time."""
    try:
        task = await request.app[CLIENT].wait_for_task(ref, timeout=TIMEOUT)
    except TaskTimeoutError:
        return web.json_response({"task_id": ref.task_id, "status": "PENDING"}, status=202)
    found = {"task_id": ref.task_id, "status": task.status, "stems": dict(task.stems)}
    return web.json_response(found, status=200 if task.succeeded else 502)


async def stats(request: web.Request) -> web.Response:
    """Show what has become of requests and callbacks."""
    callbacks = attrs.asdict(request.app[RECEIVER].stats)
    requests = request.app[CLIENT].stats.requests
    return web.json_response({"requests": requests, "callbacks": callbacks})


@web.middleware
async def errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer in words that are meant for callers; those of the error go to the log."""
    try:
        return await handler(request)
    except VocalSepError as error:
        status, text = 502, "the separation failed, try again later"
        if isinstance(error, InvalidArgumentError):
            status, text = 400, "the song, or the id of the task, is not valid"
        LOG.warning("answered %d: %s", status, error)
        return web.json_response({"error": text}, status=status)


def make_app() -> web.Application:
    """Build the service."""
    app = web.Application(middlewares=[errors])
    app[CLIENT] = VocalSepClient()
    address = CallbackUrl(f"{os.environ['PUBLIC_URL']}/callbacks", os.environ["CALLBACK_SECRET"])
    app[RECEIVER] = CallbackReceiver(app[CLIENT], address)
    app.cleanup_ctx.append(with_client)
    app.add_routes(app[RECEIVER].routes("/callbacks"))
    app.add_routes([web.post("/separate", separate), web.get("/stems/{task_id}", stems)])
    app.add_routes([web.get("/stats", stats)])
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8000, access_log=None)
