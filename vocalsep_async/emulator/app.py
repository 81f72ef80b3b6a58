"""The HTTP side of the emulator: admission, routes, and faults on the wire."""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from types import MappingProxyType

import anyio
from aiohttp import web

from vocalsep_async.emulator import browsers, edge, responses, uploads
from vocalsep_async.emulator.backend import Backend
from vocalsep_async.emulator.faults import Fault, FaultQueue, UploadFault
from vocalsep_async.emulator.request_log import LogEntry, RequestLog
from vocalsep_async.emulator.responses import ApiResponse, raw_response
from vocalsep_async.emulator.settings import EmulatorSettings
from vocalsep_async.emulator.stems import StemFiles, StemResponse
from vocalsep_async.emulator.tasks import Task
from vocalsep_async.emulator.uploads import UploadHost

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# One value per request: aiohttp handles each in an asyncio task of its own, until the response
# is sent.
_entry: ContextVar[LogEntry] = ContextVar("vocalsep_emulator_entry")

_PAGE = "<!DOCTYPE html><html><body><h1>One moment, please</h1></body></html>"
_FAULTS_IN_FORM: Mapping[Fault, Callable[[EmulatorSettings], ApiResponse]] = MappingProxyType(
    {
        Fault.THROTTLED: responses.throttled,
        Fault.MAINTENANCE: lambda _: responses.maintenance(),
        Fault.SERVER_ERROR: lambda _: responses.server_error(),
        Fault.NO_CREDITS: responses.no_credits,
        Fault.UNAUTHORIZED: lambda _: responses.unauthorized(),
    }
)
_FAULTS_OUT_OF_FORM: Mapping[Fault, Callable[[], web.Response]] = MappingProxyType(
    {
        Fault.HTML: lambda: raw_response(_PAGE, content_type="text/html;charset=UTF-8"),
        Fault.EMPTY: lambda: raw_response(""),
        Fault.GARBAGE: lambda: raw_response(responses.success({}).text[:-8]),
    }
)


class SlidingWindow:
    """Admits at most *limit* requests in any window of *period* seconds.

    A window includes its first moment and excludes its last: a request that arrived exactly
    *period* seconds ago does not count. The client's own limiter is not used here, so that an
    error in it cannot hide itself.

    Args:
        limit: number of requests, 1 or more.
        period: seconds, more than 0.
        count_throttled: whether throttled requests count too, so that a client that does not
            pause stays throttled.
    """

    def __init__(self, limit: int, period: float, *, count_throttled: bool = False) -> None:
        self._period = period
        self._count_throttled = count_throttled
        # Only the last `limit` requests decide.
        self._counted: deque[float] = deque(maxlen=limit)

    def admit(self, now: float) -> bool:
        """Count a request at the monotonic time *now* and return whether it is admitted."""
        has_room = len(self._counted) < (self._counted.maxlen or 0)
        admitted = has_room or now - self._counted[0] >= self._period
        if admitted or self._count_throttled:
            self._counted.append(now)
        return admitted


class App:
    """Admits requests, passes them to the backend and logs them.

    Args:
        settings: the options.
        backend: handles the admitted requests.
        log: receives a record of each request.
        faults: the faults of the next requests.
        on_created: called with each task that a request created.
        under_maintenance: called at each request to the API.
    """

    def __init__(
        self,
        settings: EmulatorSettings,
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
        self._files = StemFiles()
        self._closing = anyio.Event()
        self._window = _window(settings, settings.rate_limit)
        self._creations = _window(settings, settings.creation_limit)
        self._uploads = UploadHost(backend.uploads, backend.clock, self._closing)

    def routes(self) -> web.Application:
        """Return the application for aiohttp to serve."""
        app = web.Application(middlewares=[self._handle])
        app.on_response_prepare.append(self._write_record)
        if self._settings.cors:
            app.on_response_prepare.append(browsers.open_to_browsers)
        app.router.add_post("/api/v1/vocal-removal/generate", self._as_creation(self._generate))
        app.router.add_get("/api/v1/vocal-removal/record-info", self._record_info)
        if self._settings.profile.has_jobs:
            app.router.add_post("/api/v1/jobs/createTask", self._as_creation(self._create_job))
            app.router.add_get("/api/v1/jobs/recordInfo", self._job_info)
        app.router.add_get(self._settings.profile.credits_path, self._credits)
        app.router.add_post(uploads.PATH, self._upload)
        # After the others, because the first route that matches counts.
        app.router.add_route("*", "/api/{rest:.*}", self._not_found)
        app.router.add_get("/files/{folder}/{name}", self._file)
        app.router.add_get("/uploads/{folder}/{name}", self._uploaded)
        return app

    def close(self) -> None:
        """Release the requests that are stalled or delayed."""
        self._closing.set()

    async def remove_files(self) -> None:
        """Remove the files that were written for downloads."""
        await self._files.aclose()

    @web.middleware
    async def _handle(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        entry = LogEntry(at=self._backend.clock.now(), method=request.method, path=request.path)
        _entry.set(entry)
        if self._settings.cors and browsers.is_preflight(request):
            return browsers.preflight()
        # The upload host is another one, with a limit that is not known.
        if request.path.startswith("/api/") and request.path != uploads.PATH:
            handler = self._admit(entry, handler)
        response = await handler(request)
        # After the handler, so that the answer shows the state at the arrival of the request.
        await self._pause(self._settings.latency)
        return response

    def _admit(self, entry: LogEntry, handler: _Handler) -> _Handler:
        """Return *handler* with a check of the key, or a handler that responds in its place."""
        # First, as every request counts against the limit, faults and maintenance included.
        admitted = self._window is None or self._window.admit(entry.at)
        fault = self._faults.pop()
        if fault is Fault.UNANSWERED:
            return self._unanswered(self._with_key(handler))
        if fault is not None:
            return lambda request: self._apply(fault, request)
        if self._under_maintenance():
            return lambda request: _respond(request, responses.maintenance())
        if not admitted:
            return lambda request: _respond(request, responses.throttled(self._settings))
        return self._with_key(handler)

    def _unanswered(self, handler: _Handler) -> _Handler:
        async def carry_out(request: web.Request) -> web.StreamResponse:
            await handler(request)
            return self._hang_up(request)

        return carry_out

    def _as_creation(self, handler: _Handler) -> _Handler:
        async def check(request: web.Request) -> web.StreamResponse:
            if self._creations is not None and not self._creations.admit(_entry.get().at):
                return await _respond(request, responses.throttled(self._settings))
            try:
                return await handler(request)
            except web.HTTPRequestEntityTooLarge:
                return await _respond(request, responses.too_large())

        return check

    def _with_key(self, handler: _Handler) -> _Handler:
        async def check(request: web.Request) -> web.StreamResponse:
            if self._is_authorized(request.headers.get("Authorization", "")):
                return await handler(request)
            return await _respond(request, responses.unauthorized())

        return check

    def _is_authorized(self, authorization: str) -> bool:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            return False
        expected = self._settings.api_key
        # As bytes: compare_digest accepts no string beyond ASCII. aiohttp decodes headers like
        # this.
        given = key.strip().encode("utf-8", "surrogateescape")
        return expected is None or hmac.compare_digest(expected.encode(), given)

    async def _apply(self, fault: Fault, request: web.Request) -> web.StreamResponse:
        if fault in _FAULTS_IN_FORM:
            return await _respond(request, _FAULTS_IN_FORM[fault](self._settings))
        if fault in _FAULTS_OUT_OF_FORM:
            return _FAULTS_OUT_OF_FORM[fault]()
        return await self._stall(request) if fault is Fault.STALLED else self._hang_up(request)

    async def _stall(self, request: web.Request) -> web.StreamResponse:
        # Logged now: a stalled request may never come as far as a response.
        self._log_unanswered()
        await self._closing.wait()
        return self._hang_up(request)

    def _log_unanswered(self) -> None:
        entry = _entry.get()
        entry.unanswered = True
        self._log.write(entry)

    def _hang_up(self, request: web.Request) -> web.StreamResponse:
        self._log_unanswered()
        # The transport is None if the client has disconnected in the meantime.
        if request.transport is not None:
            request.transport.close()
        return web.Response()

    async def _pause(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._closing.wait()

    async def _write_record(self, _request: web.Request, response: web.StreamResponse) -> None:
        self._log.write(_entry.get(), response.status)

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        return await self._created(request, *self._backend.create(await request.read()))

    async def _create_job(self, request: web.Request) -> web.StreamResponse:
        return await self._created(request, *self._backend.create_job(await request.read()))

    async def _created(
        self, request: web.Request, response: ApiResponse, task: Task | None
    ) -> web.StreamResponse:
        if task is not None:
            _entry.get().task_id = task.task_id
            self._on_created(task)
        return await _respond(request, response)

    async def _record_info(self, request: web.Request) -> web.StreamResponse:
        return await _respond(request, self._backend.record_info(_asked_for(request)))

    async def _job_info(self, request: web.Request) -> web.StreamResponse:
        return await _respond(request, self._backend.job_info(_asked_for(request)))

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        if not self._is_authorized(request.headers.get("Authorization", "")):
            return await _respond(request, uploads.UNAUTHORIZED)
        fault = self._faults.pop_upload()
        if fault is UploadFault.STALLED:
            return await self._stall(request)
        if fault is UploadFault.DROPPED:
            await request.content.readany()
            return self._hang_up(request)
        base_url = self._backend.base_url
        return await _respond(request, await self._uploads.respond(request, base_url, fault))

    async def _uploaded(self, request: web.Request) -> web.StreamResponse:
        return self._uploads.serve(request)

    async def _credits(self, request: web.Request) -> web.StreamResponse:
        return await _respond(request, self._backend.credits())

    async def _not_found(self, request: web.Request) -> web.StreamResponse:
        return await _respond(request, responses.not_found())

    async def _file(self, request: web.Request) -> web.StreamResponse:
        folder, name = request.match_info["folder"], request.match_info["name"]
        task = self._backend.tasks.in_folder(folder)
        _entry.get().task_id = None if task is None else task.task_id
        expires, signature = (request.query.get(key, "") for key in ("expires", "signature"))
        is_valid = self._backend.links.is_valid(folder, name, expires, signature)
        track = task.track_in(name) if task is not None and is_valid else None
        if track is None:
            raise web.HTTPForbidden(text="The link has expired, or is not one of ours.")
        return StemResponse(await self._files.path(track.mix))


def _window(settings: EmulatorSettings, limit: tuple[int, float] | None) -> SlidingWindow | None:
    if limit is None:
        return None
    return SlidingWindow(*limit, count_throttled=settings.count_throttled)


def _asked_for(request: web.Request) -> str:
    task_id = request.query.get("taskId", "")
    _entry.get().task_id = task_id or None
    return task_id


async def _respond(request: web.Request, response: ApiResponse) -> web.Response:
    entry = _entry.get()
    entry.code, entry.throttled = response.code, response.throttled
    entry.request_id = edge.new_ray()
    return edge.answer(
        request,
        response.text.encode(),
        status=response.http_status,
        headers=response.headers,
        ray=entry.request_id,
    )
