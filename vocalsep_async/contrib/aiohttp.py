"""`CallbackReceiver` for servers that are made with aiohttp.

receiver = CallbackReceiver(client, CallbackUrl("https://example.com/callbacks", secret))
app.add_routes(receiver.routes("/callbacks"))
ref = await client.create_task(callback_url=receiver.url(), audio_url=song)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import aiohttp
from aiohttp import web

from vocalsep_async._receiving import Answer, InterruptedBodyError, Receiver

__all__ = ["CallbackReceiver"]


class CallbackReceiver(Receiver):
    """Receives the callbacks of one client in an aiohttp server, and wakes its waits."""

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Handle a request, of any method and path; for routes of your own."""
        return _response(
            await self._respond(
                request.method, request.raw_path, request.raw_headers, _chunks(request)
            )
        )

    def routes(self, path: str = "/") -> web.RouteTableDef:
        """The routes for ``app.add_routes``: *path*, with and without a slash, and all below it.

        Args:
            path: where the receiver is; in a part of an application, below its prefix.
        """
        table, base = web.RouteTableDef(), path.rstrip("/")
        # A resource without a path is the prefix of a part of an application.
        for each in (f"{base}/{{below:.*}}", base):
            table.route("*", each)(self.handle)
        return table


def _response(answer: Answer) -> web.Response:
    response = web.Response(status=answer.status, text=answer.text)
    if answer.allow is not None:
        response.headers["Allow"] = answer.allow
    if answer.closes:
        response.force_close()
    return response


async def _chunks(request: web.BaseRequest) -> AsyncGenerator[bytes]:
    # A middleware that read the body left it in the request.
    if request.content.at_eof():
        yield await request.read()
        return
    try:
        async for chunk in request.content.iter_any():
            yield chunk
    except (OSError, aiohttp.ClientError, web.RequestPayloadError) as error:
        raise InterruptedBodyError from error
