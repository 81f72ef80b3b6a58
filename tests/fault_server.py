"""A local server that misbehaves on purpose, byte by byte.

The first part of the path names the fault: a client with ``base_url=f"{server.url}/black_hole"``
never gets an answer. A name may begin with ``once-``: then only the first request meets the fault
and the others are answered properly. The server runs in a thread, so that the event loop of a test
holds nothing but the client's own tasks.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import cache
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl, quote, urlsplit

TASK_ID = "task-1"
"""The id in the recorded answers; the behaviours answer for the requested id."""
SIGNATURE = "SIGNED-9f86d081"
"""Stands in the query of every link, as the signature of a storage service would."""
_DRIP = 0.02
_PATIENCE = 60.0


# Answers


def envelope(code: int = 200, msg: str = "success", data: object = None) -> bytes:
    """What the API says, as JSON."""
    return json.dumps({"code": code, "msg": msg, "data": data}).encode()


def record(task_id: str = TASK_ID, status: str = "SUCCESS", **changes: Any) -> dict[str, Any]:
    """One record of the API; links are there once it is not pending."""
    link = f"https://cdn.example/{{}}.mp3?X-Amz-Signature={SIGNATURE}"
    stems = {"vocalUrl": link.format("vocal"), "instrumentalUrl": link.format("instrumental")}
    return {
        "taskId": task_id,
        "musicId": "music-1",
        "callbackUrl": "https://callback.example/",
        "createTime": 1_753_000_000_000,
        "completeTime": None if status == "PENDING" else 1_753_000_060_000,
        "successFlag": status,
        "response": None if status == "PENDING" else stems,
        "errorCode": None,
        "errorMessage": None,
    } | changes


def answer(
    body: bytes = b"",
    *headers: str,
    status: str = "200 OK",
    kind: str | None = "application/json",
) -> bytes:
    """A whole HTTP answer with a correct length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    if kind is not None:
        lines.append(f"Content-Type: {kind}")
    return "\r\n".join([*lines, *headers, "", ""]).encode("utf-8", "surrogateescape") + body


def headers_only(*headers: str) -> bytes:
    """The head of an answer, whose body follows separately."""
    return "\r\n".join(
        ["HTTP/1.1 200 OK", "Content-Type: application/json", *headers, "", ""]
    ).encode()


RECORD = envelope(data=record())
HEALTHY = answer(RECORD)
HTML = b"<!DOCTYPE html><html><body>" + b"<p>Sign in to the hotel's network.</p>" * 50


@cache
def bomb(mebibytes: int = 256) -> bytes:
    """A valid record, followed by so much white space, in a few hundred kilobytes of gzip."""
    press = zlib.compressobj(1, wbits=31)
    blank = b" " * (1 << 20)
    return b"".join(
        [press.compress(RECORD), *(press.compress(blank) for _ in range(mebibytes)), press.flush()]
    )


# Requests


class Seen(NamedTuple):
    """One request as it came."""

    fault: str
    head: bytes
    body: bytes

    @property
    def method(self) -> str:
        """GET or POST."""
        return self.head.split(b" ", 1)[0].decode()

    @property
    def target(self) -> str:
        """The path and query, or the whole URL if it came through a proxy."""
        return self.head.split(b" ", 2)[1].decode()

    @property
    def task_id(self) -> str:
        """The requested id, decoded as servers decode forms; TASK_ID if there is none."""
        query = dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))
        return query.get("taskId", TASK_ID)

    @property
    def headers(self) -> Mapping[str, str]:
        """Header lines by lower-case name."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines if line)
        return {name.lower(): value.strip() for name, _, value in pairs}


class Visit:
    """One request, and the connection that it came on.

    Attributes:
        seen: the request.
        nth: which one it is on this connection, from 1.
        server: the server, for what a fault needs to know of its other visits.
        over: whether the connection is gone.
    """

    def __init__(
        self,
        server: FaultServer,
        seen: Seen,
        nth: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.server = server
        self.seen = seen
        self.nth = nth
        self.over = False
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Send *data* as it is."""
        self._writer.write(data)
        await self._writer.drain()

    async def healthy(self) -> None:
        """Give the answer of a healthy server."""
        await self.send(self.server.healthy(self.seen))

    def hang_up(self) -> None:
        """Close the connection in good order (FIN)."""
        self._writer.close()
        self.over = True

    def reset(self) -> None:
        """Break the connection (RST)."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        self.over = True

    async def until_gone(self) -> None:
        """Say nothing until the client gives up."""
        await self._reader.read()
        self.over = True


Fault = bytes | Callable[[Visit], Awaitable[None]]


# What happens to connections


async def _healthy(visit: Visit) -> None:
    await visit.healthy()


async def _pending(visit: Visit) -> None:
    await visit.send(answer(envelope(data=record(visit.seen.task_id, "PENDING"))))


async def _pending_twice(visit: Visit) -> None:
    requests = [seen for seen in visit.server.seen if seen.task_id == visit.seen.task_id]
    await (_healthy if len(requests) > 2 else _pending)(visit)


async def _rst_before(visit: Visit) -> None:
    visit.reset()


async def _fin_before(visit: Visit) -> None:
    visit.hang_up()


async def _mid_headers(visit: Visit) -> None:
    await visit.send(b"HTTP/1.1 200 OK\r\nX-Secret-Header: leaked-header-text\r\nContent-Le")


async def _rst_mid_headers(visit: Visit) -> None:
    await _mid_headers(visit)
    visit.reset()


async def _fin_mid_headers(visit: Visit) -> None:
    await _mid_headers(visit)
    visit.hang_up()


async def _half_body(visit: Visit) -> None:
    await visit.send(HEALTHY[:-100])


async def _half_body_fin(visit: Visit) -> None:
    await _half_body(visit)
    visit.hang_up()


async def _half_body_rst(visit: Visit) -> None:
    await _half_body(visit)
    visit.reset()


async def _chunked_cut(visit: Visit) -> None:
    await visit.send(headers_only("Transfer-Encoding: chunked") + b'5\r\n{"cod\r\n')
    visit.hang_up()


async def _no_length_cut(visit: Visit) -> None:
    await visit.send(headers_only("Connection: close") + RECORD[:-100])
    visit.hang_up()


async def _no_length(visit: Visit) -> None:
    await visit.send(headers_only("Connection: close") + RECORD)
    visit.hang_up()


async def _black_hole(visit: Visit) -> None:
    await visit.until_gone()


async def _drip(visit: Visit, first: bytes, drop: bytes) -> None:
    await visit.send(first)
    while True:
        await visit.send(drop)
        await asyncio.sleep(_DRIP)


async def _slow_headers(visit: Visit) -> None:
    await _drip(visit, b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a")


async def _slow_body(visit: Visit) -> None:
    await _drip(visit, headers_only("Content-Length: 100000"), b" ")


async def _endless_100(visit: Visit) -> None:
    await _drip(visit, b"", b"HTTP/1.1 100 Continue\r\n\r\n")


async def _close_when_idle(visit: Visit) -> None:
    await visit.healthy()
    visit.hang_up()


async def _second_dies(visit: Visit) -> None:
    if visit.nth == 1:
        await visit.healthy()
    else:
        visit.hang_up()


# The unrequested answer is about another task, so that a client that accepts it is detected.
_UNREQUESTED = answer(envelope(data=record("another-task")))


async def _extra_bytes_after(visit: Visit) -> None:
    await visit.send(visit.server.healthy(visit.seen) + _UNREQUESTED)


async def _extra_bytes_late(visit: Visit) -> None:
    late = b"" if visit.nth == 1 else _UNREQUESTED
    await visit.send(late + visit.server.healthy(visit.seen))


async def _length_too_short(visit: Visit) -> None:
    await visit.send(headers_only(f"Content-Length: {len(RECORD)}") + RECORD + RECORD)


async def _huge_json(visit: Visit) -> None:
    size = 64 << 20
    await visit.send(headers_only(f"Content-Length: {size}") + b'{"code": 200, "msg": "')
    for _ in range(size >> 16):
        await visit.send(b"a" * (1 << 16))
    await visit.until_gone()


async def _gzip_bomb(visit: Visit) -> None:
    await visit.send(answer(bomb(), "Content-Encoding: gzip"))


async def _http09(visit: Visit) -> None:
    await visit.send(b"hello, this is a server of 1991\r\n")
    visit.hang_up()


# Answers that echo the request


async def _echo_key(visit: Visit) -> None:
    key = visit.seen.headers["authorization"].removeprefix("Bearer ")
    await visit.send(answer(envelope(401, f"the key {key} is not known"), f"X-You-Sent: {key}"))


async def _echo_key_in_record(visit: Visit) -> None:
    key = visit.seen.headers["authorization"].removeprefix("Bearer ")
    failed = record(
        visit.seen.task_id,
        "GENERATE_AUDIO_FAILED",
        response=None,
        errorCode=500,
        errorMessage=f"upstream refused {key}",
    )
    await visit.send(answer(envelope(data=failed)))


async def _echo_key_as_html(visit: Visit) -> None:
    said = visit.seen.headers["authorization"].encode()
    await visit.send(answer(said, status="502 Bad Gateway", kind="text/html"))


async def _echo_key_unreadable(visit: Visit) -> None:
    await visit.send(answer(visit.seen.headers["authorization"].encode()))


ECHOING = ("Retry-After", "Date", "X-Request-Id", "CF-Ray")
"""Headers in which a server repeats the key."""


async def _echo_key_encoded(visit: Visit) -> None:
    key = visit.seen.headers["authorization"].removeprefix("Bearer ")
    login = base64.b64encode(f"Bearer {key}".encode()).decode()
    said = f"https://a.example/{quote(key, safe='')}, {login}, {key.upper()}"
    await visit.send(answer(envelope(430, said), *(f"{name}: {key}" for name in ECHOING)))


async def _set_cookie(visit: Visit) -> None:
    body = envelope(data=record(visit.seen.task_id))
    await visit.send(answer(body, "Set-Cookie: session=abc; Path=/", "Set-Cookie: other=1"))


# Where one is sent instead


def _redirect(status: str, where: Callable[[Visit], str] | None) -> Fault:
    async def redirect(visit: Visit) -> None:
        headers = () if where is None else (f"Location: {where(visit)}",)
        await visit.send(answer(HTML, *headers, status=status, kind="text/html"))

    return redirect


def _elsewhere(visit: Visit) -> str:
    return f"{visit.server.elsewhere}/healthy?token={SIGNATURE}"


def _itself(visit: Visit) -> str:
    return visit.seen.target


# The tables

_CODES = {
    400: "parameter error",
    401: "unauthorized",
    404: "not found",
    405: "rate limit exceeded",
    413: "conflict",
    422: "validation failed",
    429: "insufficient credits",
    430: "call frequency too high",
    455: "maintenance",
    500: "internal error",
}
_PLAIN = "text/plain; charset={}"

CONNECTION_FAULTS: dict[str, Fault] = {
    "rst_before": _rst_before,
    "fin_before": _fin_before,
    "rst_mid_headers": _rst_mid_headers,
    "fin_mid_headers": _fin_mid_headers,
    "half_body_fin": _half_body_fin,
    "half_body_rst": _half_body_rst,
    "chunked_cut": _chunked_cut,
    "no_length_cut": _no_length_cut,
    "no_length": _no_length,
    "slow_headers": _slow_headers,
    "slow_body": _slow_body,
    "black_hole": _black_hole,
    "endless_100": _endless_100,
    "close_when_idle": _close_when_idle,
    "second_dies": _second_dies,
    "extra_bytes_after": _extra_bytes_after,
    "extra_bytes_late": _extra_bytes_late,
    "length_too_short": _length_too_short,
}

FRAMING_FAULTS: dict[str, Fault] = {
    "chunked_bad_size": headers_only("Transfer-Encoding: chunked")
    + b"zz\r\n"
    + RECORD
    + b"\r\n0\r\n\r\n",
    "two_lengths": headers_only("Content-Length: 3", f"Content-Length: {len(RECORD)}") + RECORD,
    "chunked_and_length": headers_only("Transfer-Encoding: chunked", "Content-Length: 5")
    + b"0\r\n\r\n",
    "neg_length": headers_only("Content-Length: -1") + RECORD,
    "early_hints": b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n" + HEALTHY,
    "many_100": b"HTTP/1.1 100 Continue\r\n\r\n" * 2000 + HEALTHY,
    "big_header": answer(RECORD, "X-Big: " + "a" * 100_000),
    "many_headers": answer(RECORD, *(f"X-Many-{n}: {n}" for n in range(5000))),
    "http09": _http09,
    "bad_status_line": b"HTTP/1.1 fine OK\r\n\r\n",
    "garbage": b"\x00\x16\x03\x01\xff\xfe" * 50,
}

BODY_FAULTS: dict[str, Fault] = {
    "html502": answer(HTML, status="502 Bad Gateway", kind="text/html"),
    "html503": answer(HTML, status="503 Service Unavailable", kind="text/html"),
    "html504": answer(HTML, status="504 Gateway Timeout", kind="text/html"),
    "html200": answer(HTML, kind="text/html"),
    "html404": answer(HTML, status="404 Not Found", kind="text/html"),
    "html429": answer(HTML, "Retry-After: 0", status="429 Too Many Requests", kind="text/html"),
    "real405": answer(HTML, "Allow: POST", status="405 Method Not Allowed", kind="text/html"),
    "empty405": answer(b"", "Allow: POST", status="405 Method Not Allowed", kind=None),
    "proxy407": answer(HTML, status="407 Proxy Authentication Required", kind="text/html"),
    "empty200": answer(b""),
    "s204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "json_as_text": answer(RECORD, kind="text/plain"),
    "json_no_type": answer(RECORD, kind=None),
    "json_odd_charset": answer(RECORD, kind=_PLAIN.format("no-such-charset")),
    "json_zlib_charset": answer(RECORD, kind=_PLAIN.format("zlib")),
    "json_utf16": answer(RECORD.decode().encode("utf-16")),
    "json_bom": answer(b"\xef\xbb\xbf" + RECORD),
    "bad_utf8": answer(RECORD.replace(b"success", b"\xff\xfe\xc3(")),
    "nan": answer(RECORD.replace(b"1753000000000", b"NaN")),
    "infinity": answer(RECORD.replace(b'"code": 200', b'"code": -Infinity')),
    "float_overflow": answer(RECORD.replace(b'"code": 200', b'"code": 1e400')),
    "huge_int": answer(RECORD.replace(b'"code": 200', b'"code": ' + b"9" * 5000)),
    "deep_json": answer(b"[" * 200_000 + b"]" * 200_000),
    "huge_json": _huge_json,
    "truncated_json": answer(RECORD[:-20]),
    "two_docs": answer(RECORD + RECORD),
    "json_array": answer(b"[" + RECORD + b"]"),
    "json_string": answer(json.dumps(RECORD.decode()).encode()),
    "json_null": answer(b"null"),
    "json_number": answer(b"200"),
    "dup_keys": answer(b'{"code": 200, ' + envelope(430, "call frequency too high")[1:]),
    "surrogate": answer(envelope(400, "bad \ud800 word")),
    "ansi": answer(envelope(400, "\x1b[31mred\x1b[0m\r\nFAKE LOG LINE\x00end" + "a" * 5000)),
    "bad_header_bytes": answer(RECORD, "X-Odd: caf\udce9\udcff"),
}

ENCODING_FAULTS: dict[str, Fault] = {
    "gzip": answer(gzip.compress(RECORD), "Content-Encoding: gzip"),
    "gzip_bomb": _gzip_bomb,
    "gzip_cut": answer(gzip.compress(RECORD)[:-40], "Content-Encoding: gzip"),
    "gzip_lie": answer(RECORD, "Content-Encoding: gzip"),
    "gzip_twice": answer(gzip.compress(gzip.compress(RECORD)), "Content-Encoding: gzip"),
    "gzip_bad_crc": answer(gzip.compress(RECORD)[:-8] + b"\0" * 8, "Content-Encoding: gzip"),
    "br_unasked": answer(b"\x8b\x05\x80hello\x03", "Content-Encoding: br"),
    "unknown_encoding": answer(b"\x28\xb5\x2f\xfd", "Content-Encoding: rot13"),
}

REDIRECTS: dict[str, Fault] = {
    "redirect_302_elsewhere": _redirect("302 Found", _elsewhere),
    "redirect_307_elsewhere": _redirect("307 Temporary Redirect", _elsewhere),
    "redirect_308_elsewhere": _redirect("308 Permanent Redirect", _elsewhere),
    "redirect_loop": _redirect("302 Found", _itself),
    "redirect_nowhere": _redirect("302 Found", None),
    "redirect_bad_url": _redirect("302 Found", lambda _: "http://[half-an-address"),
    "redirect_file": _redirect("302 Found", lambda _: "file:///etc/passwd"),
    "not_modified": b"HTTP/1.1 304 Not Modified\r\n\r\n",
}

_OTHERS: dict[str, Fault] = {
    "healthy": _healthy,
    "pending": _pending,
    "pending_twice": _pending_twice,
    "set_cookie": _set_cookie,
    "echo_key": _echo_key,
    "echo_key_in_record": _echo_key_in_record,
    "echo_key_as_html": _echo_key_as_html,
    "echo_key_unreadable": _echo_key_unreadable,
    "echo_key_encoded": _echo_key_encoded,
    "redirect_with_id": answer(
        envelope(data={"taskId": "task-1"}), "Location: /x", status="307 Temporary Redirect"
    ),
    "proxy407_with_id": answer(
        envelope(data={"taskId": "task-1"}), status="407 Proxy Authentication Required"
    ),
    "no_such_task": answer(envelope()),
    "link_in_a_list": answer(
        envelope(data=record(response={"vocalUrl": [f"cdn.example/?sig={SIGNATURE}"]}))
    ),
    "maintenance_page": answer(HTML, status="455 Maintenance", kind="text/html"),
}

FAULTS: Mapping[str, Fault] = {
    **CONNECTION_FAULTS,
    **FRAMING_FAULTS,
    **BODY_FAULTS,
    **ENCODING_FAULTS,
    **REDIRECTS,
    **_OTHERS,
    **{
        f"st{code}": answer(envelope(code, msg), status=f"{code} No")
        for code, msg in _CODES.items()
    },
    **{f"body{code}": answer(envelope(code, msg)) for code, msg in _CODES.items()},
}


# The server


class _Conversation(asyncio.StreamReaderProtocol):
    """Reports every connection to the server, even one that ends before its handler begins."""

    def __init__(self, server: FaultServer) -> None:
        super().__init__(asyncio.StreamReader(), server.serve)
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        # Read now: a closed TLS transport has lost its socket.
        self._server.transports[transport] = transport.get_extra_info("socket")
        super().connection_made(transport)


class FaultServer:
    """Listens on loopback while its ``with`` block is open.

    Attributes:
        seen: every request that was read, in order.
        connections: how many were accepted.
        transports: those connections, and the socket of each.
        elsewhere: where redirects to another host lead.

    Args:
        tls: makes it an HTTPS server.
        elsewhere: the address of another server.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, elsewhere: str = "") -> None:
        self.seen: list[Seen] = []
        self.connections = 0
        self.elsewhere = elsewhere
        self._tls = tls
        self._port = 0
        self._handlers: set[asyncio.Task[object]] = set()
        self.transports: dict[asyncio.WriteTransport, socket.socket] = {}
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    @property
    def hits(self) -> int:
        """How many requests were read."""
        return len(self.seen)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.url_of("127.0.0.1")

    def url_of(self, host: str) -> str:
        """The same, with another name of this machine."""
        return f"http{'s' if self._tls else ''}://{host}:{self._port}"

    def healthy(self, seen: Seen) -> bytes:
        """The answer of a healthy server to that request."""
        if seen.method == "POST":
            return answer(envelope(data={"taskId": "new-task"}))
        if "credit" in seen.target:
            return answer(envelope(data=12.5))
        return answer(envelope(data=record(seen.task_id)))

    def wait_for_hits(self, number: int) -> None:
        """Block until so many requests were read.

        Raises:
            AssertionError: they never came.
        """
        give_up = time.monotonic() + _PATIENCE
        while self.hits < number:
            assert time.monotonic() < give_up, f"{self.hits} of {number} requests came"
            time.sleep(0.001)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(_PATIENCE), "the fault server did not start"
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_PATIENCE)
        assert not self._thread.is_alive(), "the fault server did not stop"

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        # What a client breaks off in the middle of a TLS handshake is none of the test's business.
        self._loop.set_exception_handler(lambda _loop, _context: None)
        server = await self._loop.create_server(
            lambda: _Conversation(self), "127.0.0.1", 0, ssl=self._tls
        )
        self._port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        # A connection that is being accepted when its server closes is lost by asyncio, unclosed.
        for listening in server.sockets:
            self._loop.remove_reader(listening.fileno())
        for _ in range(2):
            await asyncio.sleep(0)
        server.close()
        await self._hang_up()

    async def _hang_up(self) -> None:
        """Close all connections: one left open would cause a warning in a later test."""
        give_up = time.monotonic() + _PATIENCE
        this = asyncio.current_task()
        # A connection that is just being accepted gets its handler first, and ends by it.
        await asyncio.sleep(0)
        while self._is_busy(this) and time.monotonic() < give_up:
            for handler in list(self._handlers):
                handler.cancel()
            for transport in self.transports:  # the unread rest of an answer still waits to be sent
                transport.abort()
            await asyncio.sleep(0)

    def _is_busy(self, this: asyncio.Task[object] | None) -> bool:
        is_open = any(each.fileno() >= 0 for each in self.transports.values())
        return is_open or asyncio.all_tasks() != {this}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._converse(reader, writer)
        finally:
            writer.close()
            self._handlers.discard(handler)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nth, over = 0, False
        while not over:
            seen = await _read_request(reader)
            self.seen.append(seen)
            nth += 1
            visit = Visit(self, seen, nth, reader, writer)
            await self._act(visit)
            over = visit.over

    async def _act(self, visit: Visit) -> None:
        name = visit.seen.fault
        if name.startswith("once-"):
            earlier = [seen for seen in self.seen if seen.fault == name]
            name = "healthy" if len(earlier) > 1 else name.removeprefix("once-")
        fault = FAULTS[name]
        await (visit.send(fault) if isinstance(fault, bytes) else fault(visit))


async def _read_request(reader: asyncio.StreamReader) -> Seen:
    head = await reader.readuntil(b"\r\n\r\n")
    request = Seen("", head, b"")
    body = await reader.readexactly(int(request.headers.get("content-length", "0")))
    return Seen(_fault_of(request), head, body)


def _fault_of(request: Seen) -> str:
    """The first part of the path; of a CONNECT, which has none, the first label of the host."""
    if request.method == "CONNECT":
        return request.target.partition(".")[0]
    return urlsplit(request.target).path.split("/")[1]
