"""The headers with which browsers let pages of other hosts call the emulator (CORS)."""

from __future__ import annotations

from aiohttp import hdrs, web

from vocalsep_async.emulator.edge import RAY

_FOR_BROWSERS = {
    hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
    hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: f"{RAY}, Content-Range, Date, ETag, Retry-After",
}
_PREFLIGHT = {
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, POST, OPTIONS",
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "Authorization, Content-Type, If-Range, Range",
    hdrs.ACCESS_CONTROL_MAX_AGE: "600",
    # A page of another host asks for it before it may call this machine.
    "Access-Control-Allow-Private-Network": "true",
}


def is_preflight(request: web.Request) -> bool:
    """Whether *request* is a browser's question if a page may send another request."""
    return request.method == hdrs.METH_OPTIONS and (
        hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
    )


def preflight() -> web.Response:
    """Return the response to such a request."""
    return web.Response(status=204, headers=_PREFLIGHT)


async def open_to_browsers(_request: web.Request, response: web.StreamResponse) -> None:
    """Let pages of any origin read *response*."""
    response.headers.update(_FOR_BROWSERS)
