"""The HTTP side: who is let in, which handler responses, and how faults look on the wire."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from types import MappingProxyType

import anyio
from aiohttp import web

from vocalsep_async.emulator import responses
from vocalsep_async.emulator.backend import Backend
from vocalsep_async.emulator.faults import Fault, FaultQueue
from vocalsep_async.emulator.files import SongFiles, StemResponse
from vocalsep_async.emulator.limiter import SlidingWindow
from vocalsep_async.emulator.request_log import Entry, RequestLog
from vocalsep_async.emulator.responses import Answer, raw_response
from vocalsep_async.emulator.settings import Settings
from vocalsep_async.emulator.tasks import Task

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# aiohttp handles each request in an asyncio task of its own, up to sending the answer.
_entry: ContextVar[Entry] = ContextVar("vocalsep_emulator_entry")

_PAGE = "<!DOCTYPE html><html><body><h1>One moment, please</h1></body></html>"
_FAULT_ANSWERS: Mapping[Fault, Callable[[Settings], Answer]] = MappingProxyType(
    {
        Fault.THROTTLED: responses.refusal,
        Fault.MAINTENANCE: lambda _: responses.maintenance(),
        Fault.SERVER_ERROR: lambda _: responses.server_error(),
        Fault.NO_CREDITS: responses.no_credits,
        Fault.UNAUTHORIZED: lambda _: responses.unauthorized(),
    }
)
_FAULT_BODIES: Mapping[Fault, Callable[[], web.Response]] = MappingProxyType(
    {
        Fault.HTML: lambda: raw_response(_PAGE, content_type="text/html;charset=UTF-8"),
        Fault.EMPTY: lambda: raw_response(""),
        Fault.GARBAGE: lambda: raw_response(responses.success({}).text[:-8]),
    }
)


class App:
    """Lets requests in, or not, and hands them to the backend.

    Args:
        settings: the options.
        backend: what responses.
        log: where each request is written down.
        faults: what the next requests meet.
        on_created: told of each task that a request created.
        under_maintenance: asked at each request.
    """

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        log: RequestLog,
        faults: FaultQueue,
        *,
        on_created: Callable[[Task], None],
        under_maintenance: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._backend = backend
        self._log = log
        self._faults = faults
        self._on_created = on_created
        self._under_maintenance = under_maintenance
        self._files = SongFiles()
        self._closing = anyio.Event()
        self._limiter = _limiter(settings)

    def application(self) -> web.Application:
        """Return the routes, as aiohttp serves them."""
        app = web.Application(middlewares=[self._receive])
        app.on_response_prepare.append(self._write_down)
        app.router.add_post("/api/v1/vocal-removal/generate", self._generate)
        app.router.add_get("/api/v1/vocal-removal/record-info", self._record_info)
        app.router.add_get(self._settings.profile.credits_path, self._credits)
        app.router.add_route("*", "/api/{rest:.*}", self._not_found)
        app.router.add_get("/files/{folder}/{stem}.wav", self._file)
        return app

    def close(self) -> None:
        """Let go of the requests that are kept waiting."""
        self._closing.set()

    async def remove_files(self) -> None:
        """Remove what was written for downloads."""
        await self._files.aclose()

    @web.middleware
    async def _receive(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        entry = Entry(at=self._backend.clock.now(), method=request.method, path=request.path)
        _entry.set(entry)
        if request.path.startswith("/api/"):
            handler = self._admit(entry, handler)
        response = await handler(request)
        await self._pause(self._settings.latency)
        return response

    def _admit(self, entry: Entry, handler: _Handler) -> _Handler:
        """Return what answers: *handler*, or whatever stands before it."""
        admitted = self._limiter is None or self._limiter.admit(entry.at)
        fault = self._faults.pop()
        if fault is not None:
            return lambda request: self._meet(fault, request)
        if self._under_maintenance():
            return lambda _: _sent(responses.maintenance())
        if not admitted:
            return lambda _: _sent(responses.refusal(self._settings))
        return self._with_key(handler)

    def _with_key(self, handler: _Handler) -> _Handler:
        async def check(request: web.Request) -> web.StreamResponse:
            if self._knows(request.headers.get("Authorization", "")):
                return await handler(request)
            return await _sent(responses.unauthorized())

        return check

    def _knows(self, authorization: str) -> bool:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            return False
        wanted = self._settings.api_key
        given = key.strip().encode("utf-8", "surrogateescape")
        return wanted is None or hmac.compare_digest(wanted.encode(), given)

    async def _meet(self, fault: Fault, request: web.Request) -> web.StreamResponse:
        if fault in _FAULT_ANSWERS:
            return await _sent(_FAULT_ANSWERS[fault](self._settings))
        if fault in _FAULT_BODIES:
            return _FAULT_BODIES[fault]()
        entry = _entry.get()
        entry.unanswered = True
        self._log.write(entry)
        if fault is Fault.STALLED:
            await self._closing.wait()
        # The client may have gone in the meantime.
        if request.transport is not None:
            request.transport.close()
        return web.Response()

    async def _pause(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._closing.wait()

    async def _write_down(self, _request: web.Request, response: web.StreamResponse) -> None:
        self._log.write(_entry.get(), response.status)

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        answer, task = self._backend.create(await request.read())
        if task is not None:
            _entry.get().task_id = task.task_id
            self._on_created(task)
        return await _sent(answer)

    async def _record_info(self, request: web.Request) -> web.StreamResponse:
        task_id = request.query.get("taskId", "")
        _entry.get().task_id = task_id or None
        return await _sent(self._backend.record_info(task_id))

    async def _credits(self, _request: web.Request) -> web.StreamResponse:
        return await _sent(self._backend.credits())

    async def _not_found(self, _request: web.Request) -> web.StreamResponse:
        return await _sent(responses.not_found())

    async def _file(self, request: web.Request) -> web.StreamResponse:
        folder, stem = request.match_info["folder"], request.match_info["stem"]
        _entry.get().task_id = self._backend.tasks.at_folder(folder)
        expires, signature = (request.query.get(key, "") for key in ("expires", "signature"))
        if not self._backend.links.holds(folder, stem, expires, signature):
            raise web.HTTPForbidden(text="The link has expired, or is not one of ours.")
        return StemResponse(await self._files.path(stem))


def _limiter(settings: Settings) -> SlidingWindow | None:
    if settings.rate_limit is None:
        return None
    return SlidingWindow(*settings.rate_limit, count_throttled=settings.count_throttled)


async def _sent(answer: Answer) -> web.Response:
    entry = _entry.get()
    entry.code, entry.throttled = answer.code, answer.throttled
    return answer.response()
