"""A web service that awaits a separation inside a request handler.

    VOCALSEP_API_KEY=... python examples/service.py
    curl http://127.0.0.1:8000/stems/TASK_ID

One client serves all requests: they share the account's budget, and two requests for the same task
share its looks.
"""

from collections.abc import AsyncIterator

from aiohttp import web

from vocalsep_async import TaskTimeoutError, VocalSepClient, VocalSepError

CLIENT = web.AppKey("client", VocalSepClient)


async def with_client(app: web.Application) -> AsyncIterator[None]:
    """Open the client when the service starts, and close it when it ends."""
    async with VocalSepClient() as client:
        app[CLIENT] = client
        yield


async def stems(request: web.Request) -> web.Response:
    """Answer with the stems of a task, or say that it is not done yet."""
    client = request.app[CLIENT]
    try:
        task = await client.wait_for_task(request.match_info["task_id"], timeout=25)
    except TaskTimeoutError:
        return web.json_response({"status": "PENDING"}, status=202, headers={"Retry-After": "25"})
    except VocalSepError as error:
        return web.json_response({"error": str(error)}, status=502)
    return web.json_response({"status": task.status, "stems": dict(task.stems)})


def make_app() -> web.Application:
    """Build the service."""
    app = web.Application()
    app.cleanup_ctx.append(with_client)
    app.router.add_get("/stems/{task_id}", stems)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8000)
