"""Spans and metrics of a client, with OpenTelemetry; install ``vocalsep-async[otel]``.

For as long as a client lives, or until it is removed::

    instrumentation = instrument(client)

Only the API package is needed, and nothing global is set: what becomes of spans and metrics is the
application's choice. docs/reference/metrics.md lists all names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

from vocalsep_async.client import VocalSepClient
from vocalsep_async.errors import InvalidArgumentError

try:
    from vocalsep_async.contrib._otel_listener import TelemetryListener
except ModuleNotFoundError as _error:
    if _error.name is None or _error.name.partition(".")[0] != "opentelemetry":
        raise
    raise ImportError(
        "vocalsep_async.contrib.opentelemetry needs opentelemetry-api: install the extra otel, "
        "as vocalsep-async[otel]",
        name=_error.name,
    ) from None

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["Instrumentation", "instrument"]


class Instrumentation:
    """What makes spans and metrics of one client; `instrument` makes it."""

    def __init__(self, client: VocalSepClient, listener: TelemetryListener) -> None:
        # Weakly, so that a client that is kept nowhere else can go.
        self._client = ref(client)
        self._listener = listener

    def remove(self) -> None:
        """Make no more spans and metrics of the client; may be called again.

        Spans of what is under way end with it.
        """
        client = self._client()
        if client is not None and _instrumented.get(client) is self:
            del _instrumented[client]
            self._listener.stop(self._leave)

    def _leave(self) -> None:
        client = self._client()
        if client is not None:
            client._engines.unlisten(self._listener)  # noqa: SLF001 - the same package


_instrumented: WeakKeyDictionary[VocalSepClient, Instrumentation] = WeakKeyDictionary()


def instrument(
    client: VocalSepClient,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> Instrumentation:
    """Make spans and metrics of what *client* does from now on.

    A client that is instrumented already stays as it is. Nothing has to be removed at its end.

    Args:
        client: the client.
        tracer_provider: gets the spans; None for the global one at the time of the first span.
        meter_provider: gets the metrics; None for the global one at the time of the first event
            for which there is one.

    Returns:
        What removes it again.

    Raises:
        InvalidArgumentError: *client* is not a `VocalSepClient`, or a provider is unusable.
    """
    if not isinstance(client, VocalSepClient):
        raise InvalidArgumentError(f"client must be a VocalSepClient, not {type(client).__name__}")
    _check(tracer_provider, "tracer_provider", "get_tracer")
    _check(meter_provider, "meter_provider", "get_meter")
    found = _instrumented.get(client)
    if found is None:
        setup = client._setup  # noqa: SLF001 - the same package
        engines = ref(client._engines)  # noqa: SLF001
        listener = TelemetryListener(
            tracer_provider,
            meter_provider,
            provider=setup.provider.name,
            url=setup.base_url,
            limiter=setup.limiter,
            is_open=lambda: (found := engines()) is not None and not found.is_closed,
        )
        found = _instrumented[client] = Instrumentation(client, listener)
        client._engines.listen(listener)  # noqa: SLF001
    return found


def _check(provider: object, name: str, method: str) -> None:
    if provider is not None and not callable(getattr(provider, method, None)):
        raise InvalidArgumentError(
            f"{name} must be a provider of OpenTelemetry or None, not {type(provider).__name__}"
        )
