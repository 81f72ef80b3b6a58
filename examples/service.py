"""A web service that waits for a separation inside a request handler.

    VOCALSEP_API_KEY=... python examples/service.py
    curl http://127.0.0.1:8000/stems/TASK_ID

One client serves all requests: they share the rate limit, and requests for the same task share its
polls.
"""

import logging
from collections.abc import AsyncIterator

from aiohttp import web

from vocalsep_async import TaskTimeoutError, VocalSepClient, VocalSepError

LOG = logging.getLogger(__name__)
CLIENT = web.AppKey("client", VocalSepClient)
TIMEOUT = 25.0  # seconds; below the usual limits of browsers and proxies


async def with_client(app: web.Application) -> AsyncIterator[None]:
    """Open the client when the service starts, and close it when the service ends."""
    async with VocalSepClient() as client:
        app[CLIENT] = client
        yield


async def stems(request: web.Request) -> web.Response:
    """Answer with the stems of a task, or with 202 if it has not ended yet."""
    client, task_id = request.app[CLIENT], request.match_info["task_id"]
    try:
        task = await client.wait_for_task(task_id, timeout=TIMEOUT)
    except TaskTimeoutError:
        return web.json_response({"status": "PENDING"}, status=202)
    except VocalSepError as error:
        # The text of an error is for developers.
        LOG.warning("a wait for a task failed: %s", error)
        return web.json_response({"error": "the task could not be waited for"}, status=502)
    return web.json_response({"status": task.status, "stems": dict(task.stems)})


def make_app() -> web.Application:
    """Build the service."""
    app = web.Application()
    app.cleanup_ctx.append(with_client)
    app.router.add_get("/stems/{task_id}", stems)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8000)
