"""What a service behind Cloudflare adds to each answer: headers, compression and chunks."""

from __future__ import annotations

import secrets
import zlib

from aiohttp import HttpVersion11, hdrs, web

from vocalsep_async.emulator.responses import JSON

RAY = "CF-RAY"
"""The header that identifies an answer."""
_AIRPORT = "SIN"
# A window and tables of some KiB, which cost a tenth of the time of the usual ones.
_WINDOW, _MEMORY = 16 + 12, 4


def new_ray() -> str:
    """The value of `RAY` for one answer."""
    return f"{secrets.token_hex(8)}-{_AIRPORT}"


def answer(
    request: web.Request, body: bytes, *, status: int, headers: dict[str, str], ray: str
) -> web.Response:
    """Return the response of the API to *request*: chunked, and compressed if accepted.

    Args:
        request: what is answered.
        body: the envelope.
        status: the HTTP status.
        headers: those of the API.
        ray: the value of `RAY`.
    """
    session = secrets.token_hex(16).upper()
    given = {
        **headers,
        hdrs.CONTENT_TYPE: JSON,
        hdrs.SERVER: "cloudflare",
        RAY: ray,
        "CF-Cache-Status": "DYNAMIC",
        hdrs.SET_COOKIE: f"JSESSIONID={session}; Path=/; HttpOnly",
        hdrs.VARY: hdrs.ACCEPT_ENCODING,
    }
    if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
        # Not by aiohttp, which would do it in a thread.
        body = _compressed(body)
        given[hdrs.CONTENT_ENCODING] = "gzip"
    response = web.Response(body=body, status=status, headers=given)
    if request.version >= HttpVersion11:
        response.enable_chunked_encoding()
    return response


def _compressed(body: bytes) -> bytes:
    compressor = zlib.compressobj(1, zlib.DEFLATED, _WINDOW, _MEMORY)
    return compressor.compress(body) + compressor.flush()
