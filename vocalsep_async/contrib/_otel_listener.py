"""`TelemetryListener`: spans and metrics from events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import ContextVar, Token
from typing import Any, Final

from attrs import define
from opentelemetry import context as contexts
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, MeterProvider
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer, TracerProvider
from yarl import URL

from vocalsep_async._version import __version__
from vocalsep_async.contrib._otel_attributes import (
    Attributes,
    code_on_metrics,
    error_type,
    known,
    message_of,
    of_error,
    status_on_metrics,
    verdict_of,
)
from vocalsep_async.contrib._otel_metrics import (
    NOTHING,
    SCOPE,
    Instruments,
    Readings,
    instruments_of,
)
from vocalsep_async.instrumentation import (
    BatchFinished,
    BatchStarted,
    CreationConfirmed,
    CreationFailed,
    CreationIntended,
    CreationSent,
    DownloadFinished,
    DownloadStarted,
    Event,
    JournalWritten,
    Paused,
    PollFinished,
    PollStarted,
    Resumed,
    StemFailed,
    StemSaved,
    StemStarted,
    TaskFinished,
    Throttled,
    UploadFinished,
    UploadStarted,
    WaitFinished,
    WaitStarted,
)
from vocalsep_async.limiter import Limiter


@define(eq=False)
class _Open:
    """A span that has not ended.

    Attributes:
        span: the span.
        context: the one that it was begun in, with the span as the current one.
        began: when, on the event loop's clock.
        links: the ids of what the span is linked to, or a part of.
        token: what makes it no longer the current span; None while it is not.
    """

    span: Span
    context: Context
    began: float
    links: frozenset[str] = frozenset()
    token: Token[Context] | None = None


_poll: ContextVar[object] = ContextVar("vocalsep_async_poll")
"""The key of the poll that is sent in this context."""


class TelemetryListener:
    """A listener that makes spans and metrics of one client.

    No span is current in code of the application, which may leave a block in another context than
    it entered it in. Only where nothing but one request, or the background of one batch, runs.

    Args:
        tracer_provider: gets the spans; None for the global one.
        meter_provider: gets the metrics; None for the global one.
        provider: the name of the client's provider.
        url: of its API.
        limiter: of the client.
        is_open: whether the client still exists, and was not closed.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None,
        meter_provider: MeterProvider | None,
        *,
        provider: str,
        url: URL,
        limiter: Limiter,
        is_open: Callable[[], bool],
    ) -> None:
        self._tracer_provider = tracer_provider
        self._meter_provider = meter_provider
        self._about = known(
            {
                "server.address": url.host,
                "server.port": url.explicit_port,
                "vocalsep.provider": provider,
            }
        )
        self._readings = Readings(limiter, is_open, self._about)
        self._tracer: Tracer | None = None
        self._instruments = NOTHING
        self._on_stopped: Callable[[], None] | None = None
        self._open: dict[object, _Open] = {}
        self._paused_until = 0.0

    def __call__(self, event: Event) -> None:
        """Begin or end the span of *event*, and record what it tells."""
        handle = _HANDLERS.get(type(event))
        if handle is None:
            return
        if self._on_stopped is None:
            if self._instruments is NOTHING:
                self._find_instruments()
            handle(self, event)
        elif isinstance(event, _ENDS):
            handle(self, event)
            self._leave_if_done()

    def stop(self, on_stopped: Callable[[], None]) -> None:
        """Begin no more spans and record no more metrics.

        Spans that are open end with what they are about; *on_stopped* is called when none is left.
        """
        # Ended here, a span would stay the current one of a call that is under way.
        self._on_stopped = on_stopped
        self._instruments.discard(self._readings)
        self._instruments = NOTHING
        self._leave_if_done()

    def _leave_if_done(self) -> None:
        if self._on_stopped is not None and not self._open:
            self._on_stopped()

    def _find_instruments(self) -> None:
        self._instruments = instruments_of(self._meter_provider or metrics.get_meter_provider())
        self._readings.update()
        self._instruments.add(self._readings)

    # Spans

    def _begin(
        self,
        key: object,
        name: str,
        attributes: Attributes,
        *,
        parent: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        owners: Iterable[str] = (),
        links: Iterable[Link] = (),
    ) -> _Open:
        """Begin a span, in the context *parent*; None is the present one."""
        if self._tracer is None:
            self._tracer = trace.get_tracer(SCOPE, __version__, self._tracer_provider)
        parent = contexts.get_current() if parent is None else parent
        span = self._tracer.start_span(
            f"vocalsep.{name}",
            parent,
            kind=kind,
            attributes=self._about | attributes,
            links=tuple(links),
        )
        opened = self._open[key] = _Open(
            span, trace.set_span_in_context(span, parent), _now(), frozenset(owners)
        )
        return opened

    def _end(
        self,
        key: object,
        error: BaseException | None,
        attributes: Attributes,
        *,
        measure: Callable[[Instruments], Histogram] | None = None,
        duration: float | None = None,
        on_metrics: Attributes | None = None,
    ) -> None:
        """End a span, and record its duration; None is that since it was begun."""
        opened = self._open.pop(key, None)
        if opened is not None:
            _no_longer_current(opened)
            opened.span.set_attributes({**attributes, **of_error(error)})
            if error is not None:
                _record(opened.span, error)
            opened.span.end()
            duration = _now() - opened.began if duration is None else duration
        if measure is not None and duration is not None:
            failed = known({"error.type": None if error is None else error_type(error)})
            # Within the context of the span, which an exemplar then leads to.
            measure(self._instruments).record(
                duration,
                self._about | (on_metrics or {}) | failed,
                context=None if opened is None else opened.context,
            )

    # Waits

    def _on_wait_started(self, event: WaitStarted) -> None:
        self._readings.waits += 1
        attributes = known(
            {
                "vocalsep.task.id": event.task_id,
                "vocalsep.task.label": event.label,
                "vocalsep.wait.timeout": event.timeout,
            }
        )
        self._begin(event.wait_id, "wait", attributes)

    def _on_wait_finished(self, event: WaitFinished) -> None:
        # One that had begun before the client was instrumented was not counted.
        if event.wait_id in self._open:
            self._readings.waits -= 1
        self._end(
            event.wait_id,
            event.error,
            known({"vocalsep.task.status": event.status, "vocalsep.polls": event.polls}),
            measure=lambda found: found.waits,
            duration=event.duration,
            on_metrics=known({"vocalsep.task.status": status_on_metrics(event.status)}),
        )

    # Batches

    def _on_batch_started(self, event: BatchStarted) -> None:
        opened = self._begin(event.batch_id, "batch", known({"vocalsep.batch.tasks": event.tasks}))
        # Current where the batch downloads; the event is not emitted in the user's context.
        contexts.attach(opened.context)

    def _on_batch_finished(self, event: BatchFinished) -> None:
        stats = event.stats
        self._end(
            event.batch_id,
            event.error,
            known(
                {
                    "vocalsep.batch.succeeded": stats.succeeded,
                    "vocalsep.batch.failed": stats.failed,
                    "vocalsep.batch.pending": stats.pending,
                    "vocalsep.polls": stats.polls,
                }
            ),
            measure=lambda found: found.batches,
            duration=event.duration,
        )

    # Polls

    def _on_poll_started(self, event: PollStarted) -> None:
        attributes = known(
            {"vocalsep.task.id": event.task_id, "vocalsep.poll.attempt": event.attempt}
        )
        owners = {each: self._open[each] for each in event.wait_ids if each in self._open}
        is_alone = len(event.wait_ids) == len(owners) == 1
        parent, links = None, []
        if is_alone:
            (owner,) = owners.values()
            parent = owner.context
        elif event.wait_ids:
            # A poll for several is a part of none.
            parent = Context()
            links = [Link(owner.span.get_span_context()) for owner in owners.values()]
        key = object()
        opened = self._begin(
            key,
            "poll",
            attributes,
            parent=parent,
            kind=SpanKind.CLIENT,
            owners=event.wait_ids,
            links=links,
        )
        _poll.set(key)
        opened.token = contexts.attach(opened.context)

    def _on_poll_finished(self, event: PollFinished) -> None:
        self._readings.update()
        key = _poll.get(None)
        opened = self._open.get(key)
        if opened is not None:
            # Those that joined while it was under way.
            for each in event.wait_ids:
                if each not in opened.links and each in self._open:
                    opened.span.add_link(self._open[each].span.get_span_context())
        verdict = verdict_of(event)
        self._end(
            key,
            event.error,
            known(
                {
                    "vocalsep.code": event.code,
                    "vocalsep.task.status": event.status,
                    "vocalsep.poll.verdict": verdict,
                    "vocalsep.poll.failures": event.failures or None,
                    "vocalsep.poll.next_delay": event.next_poll_in,
                }
            ),
            measure=lambda found: found.polls,
            duration=event.duration,
            on_metrics=known(
                {"vocalsep.code": code_on_metrics(event.code), "vocalsep.poll.verdict": verdict}
            ),
        )

    def _on_task_finished(self, event: TaskFinished) -> None:
        if event.delay is None:
            return
        opened = self._open.get(_poll.get(None))
        if opened is not None:
            opened.span.set_attribute("vocalsep.task.delay", event.delay)
        attributes = known(
            {
                "vocalsep.task.status": status_on_metrics(event.status),
                "vocalsep.task.type": event.type,
            }
        )
        self._instruments.delays.record(event.delay, self._about | attributes)

    # The limits

    def _on_throttled(self, event: Throttled) -> None:
        attributes = known({"vocalsep.code": code_on_metrics(event.code)})
        self._instruments.throttled.add(1, self._about | attributes)

    def _on_paused(self, event: Paused) -> None:
        self._readings.update()
        # A pause that becomes longer was counted up to its end before.
        began, self._paused_until = max(_now(), self._paused_until), _now() + event.duration
        seconds = max(0.0, self._paused_until - began)
        self._instruments.paused.add(
            seconds, self._about | known({"vocalsep.pause.reason": event.reason})
        )

    def _on_resumed(self, _event: Resumed) -> None:
        self._readings.update()

    # Journals

    def _on_journal_written(self, event: JournalWritten) -> None:
        self._instruments.writes.record(event.duration, self._about)

    # Creations

    def _on_creation_intended(self, event: CreationIntended) -> None:
        attributes = known({"vocalsep.task.type": event.type})
        self._begin(event.creation_id, "creation", attributes, kind=SpanKind.CLIENT)

    def _on_creation_sent(self, event: CreationSent) -> None:
        opened = self._open.get(event.creation_id)
        if opened is not None and opened.token is None:
            opened.token = contexts.attach(opened.context)

    def _on_creation_confirmed(self, event: CreationConfirmed) -> None:
        attributes = known({"vocalsep.task.id": event.task_id})
        self._end(event.creation_id, None, attributes, measure=lambda found: found.creations)

    def _on_creation_failed(self, event: CreationFailed) -> None:
        attributes = known({"vocalsep.creation.may_exist": event.may_exist})
        self._end(event.creation_id, event.error, attributes, measure=lambda found: found.creations)

    # Files

    def _on_download_started(self, event: DownloadStarted) -> None:
        attributes = known(
            {
                "vocalsep.task.id": event.task_id,
                "vocalsep.task.label": event.label,
                "vocalsep.download.stems": len(event.stems),
            }
        )
        self._begin(event.download_id, "download", attributes)

    def _on_download_finished(self, event: DownloadFinished) -> None:
        self._end(
            event.download_id,
            event.error,
            known(
                {"vocalsep.download.saved": event.saved, "vocalsep.download.failed": event.failed}
            ),
            measure=lambda found: found.downloads,
            duration=event.duration,
        )

    def _on_stem_started(self, event: StemStarted) -> None:
        download = self._open.get(event.download_id)
        attributes = known({"vocalsep.task.id": event.task_id, "vocalsep.stem.name": event.stem})
        self._begin(
            (event.download_id, event.stem),
            "stem",
            attributes,
            # One that is only read is no part of a download.
            parent=None if download is None else download.context,
        )

    def _on_stem_saved(self, event: StemSaved) -> None:
        fetched = known({"vocalsep.stem.fetched": event.was_fetched})
        self._count_stem(event, fetched, event.size if event.was_fetched else 0)
        attributes = fetched | known({"vocalsep.stem.size": event.size})
        self._end((event.download_id, event.stem), None, attributes)

    def _on_stem_failed(self, event: StemFailed) -> None:
        self._count_stem(event, {"error.type": error_type(event.error)}, 0)
        self._end((event.download_id, event.stem), event.error, {})

    def _count_stem(self, event: StemSaved | StemFailed, attributes: Attributes, size: int) -> None:
        opened = self._open.get((event.download_id, event.stem))
        context = None if opened is None else opened.context
        self._instruments.stems.add(1, self._about | attributes, context=context)
        self._instruments.bytes.add(size, self._about, context=context)

    def _on_upload_started(self, event: UploadStarted) -> None:
        self._begin(event.upload_id, "upload", {})

    def _on_upload_finished(self, event: UploadFinished) -> None:
        self._end(
            event.upload_id,
            event.error,
            known({"vocalsep.upload.size": event.size}),
            measure=lambda found: found.uploads,
            duration=event.duration,
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


def _record(span: Span, error: BaseException) -> None:
    # Not `Span.record_exception`: the traceback that it adds shows the errors below, too, whose
    # messages may hold links.
    message = message_of(error)
    span.set_status(Status(StatusCode.ERROR, message or error_type(error)))
    span.add_event(
        "exception",
        {"exception.type": error_type(error), "exception.message": message, **of_error(error)},
    )


def _no_longer_current(opened: _Open) -> None:
    # Python ends a coroutine that nothing awaits any more in any context: there it is not current.
    if opened.token is not None and trace.get_current_span() is opened.span:
        contexts.detach(opened.token)


_ENDS = (
    WaitFinished,
    BatchFinished,
    PollFinished,
    CreationConfirmed,
    CreationFailed,
    DownloadFinished,
    StemSaved,
    StemFailed,
    UploadFinished,
)
"""Events that end a span."""
_HANDLERS: Final[dict[type[Event], Callable[[TelemetryListener, Any], None]]] = {
    WaitStarted: TelemetryListener._on_wait_started,  # noqa: SLF001 - a part of the class
    WaitFinished: TelemetryListener._on_wait_finished,  # noqa: SLF001
    BatchStarted: TelemetryListener._on_batch_started,  # noqa: SLF001
    BatchFinished: TelemetryListener._on_batch_finished,  # noqa: SLF001
    PollStarted: TelemetryListener._on_poll_started,  # noqa: SLF001
    PollFinished: TelemetryListener._on_poll_finished,  # noqa: SLF001
    TaskFinished: TelemetryListener._on_task_finished,  # noqa: SLF001
    Throttled: TelemetryListener._on_throttled,  # noqa: SLF001
    Paused: TelemetryListener._on_paused,  # noqa: SLF001
    Resumed: TelemetryListener._on_resumed,  # noqa: SLF001
    JournalWritten: TelemetryListener._on_journal_written,  # noqa: SLF001
    CreationIntended: TelemetryListener._on_creation_intended,  # noqa: SLF001
    CreationSent: TelemetryListener._on_creation_sent,  # noqa: SLF001
    CreationConfirmed: TelemetryListener._on_creation_confirmed,  # noqa: SLF001
    CreationFailed: TelemetryListener._on_creation_failed,  # noqa: SLF001
    DownloadStarted: TelemetryListener._on_download_started,  # noqa: SLF001
    DownloadFinished: TelemetryListener._on_download_finished,  # noqa: SLF001
    StemStarted: TelemetryListener._on_stem_started,  # noqa: SLF001
    StemSaved: TelemetryListener._on_stem_saved,  # noqa: SLF001
    StemFailed: TelemetryListener._on_stem_failed,  # noqa: SLF001
    UploadStarted: TelemetryListener._on_upload_started,  # noqa: SLF001
    UploadFinished: TelemetryListener._on_upload_finished,  # noqa: SLF001
}
