"""Instruments of one meter provider, which all clients that report to it share."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from weakref import WeakKeyDictionary, WeakSet

from opentelemetry.metrics import (
    CallbackOptions,
    Histogram,
    MeterProvider,
    NoOpMeterProvider,
    Observation,
)

from vocalsep_async._version import __version__
from vocalsep_async.contrib._otel_attributes import Attributes
from vocalsep_async.limiter import Limiter

SCOPE = "vocalsep_async"
"""The name of the instrumentation scope."""

_WRITE = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
# That of the HTTP conventions, which end at 10.
_REQUEST = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0)
_DELAY = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0)
_LONG = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 1800.0)
"""Bounds of the buckets, in seconds."""


class Readings:
    """What the gauges read of one client: written in its event loop, read in any thread.

    Args:
        limiter: of the client.
        is_open: whether the client still exists, and was not closed.
        attributes: of the client.

    Attributes:
        waits: waits that are under way.
        rate: requests per second that were allowed at the last `update`.
    """

    def __init__(
        self, limiter: Limiter, is_open: Callable[[], bool], attributes: Attributes
    ) -> None:
        self._limiter = limiter
        self.is_open = is_open
        self.attributes = attributes
        self.waits = 0
        self.rate = math.inf

    def update(self) -> None:
        """Read the allowed rate anew."""
        self.rate = self._limiter.rate


class Instruments:
    """All instruments, made once: an SDK warns of a second one with the same name.

    Args:
        provider: where they report to.
    """

    def __init__(self, provider: MeterProvider) -> None:
        self._meter = meter = provider.get_meter(SCOPE, __version__)
        self._lock = threading.Lock()
        self._readings: WeakSet[Readings] = WeakSet()
        self.polls = self._seconds("poll.duration", "Duration of one poll", _REQUEST)
        self.waits = self._seconds("wait.duration", "Duration of a wait for one task", _LONG)
        self.batches = self._seconds("batch.duration", "Duration of a batch", _LONG)
        self.creations = self._seconds("creation.duration", "Duration of a creation", _REQUEST)
        self.downloads = self._seconds("download.duration", "Duration of a download", _LONG)
        self.uploads = self._seconds("upload.duration", "Duration of an upload", _LONG)
        self.delays = self._seconds(
            "task.delay", "From the end of a task until the client knew of it", _DELAY
        )
        self.writes = self._seconds(
            "journal.write.duration", "What is waited for is in the journal", _WRITE
        )
        self.throttled = meter.create_counter(
            "vocalsep.throttled", "{request}", "Requests that were throttled"
        )
        self.paused = meter.create_counter(
            "vocalsep.paused", "s", "For how long clients paused, or are going to"
        )
        self.stems = meter.create_counter(
            "vocalsep.stem.saved", "{stem}", "Stems that are complete, or failed"
        )
        self.bytes = meter.create_counter("vocalsep.stem.io", "By", "Bytes of stems fetched")
        meter.create_observable_up_down_counter(
            "vocalsep.wait.active", [self._waits], "{wait}", "Waits that are under way"
        )
        meter.create_observable_gauge(
            "vocalsep.rate.allowed", [self._rates], "{request}/s", "What the limiter allows now"
        )

    def _seconds(self, name: str, description: str, bounds: tuple[float, ...]) -> Histogram:
        return self._meter.create_histogram(
            f"vocalsep.{name}", "s", description, explicit_bucket_boundaries_advisory=bounds
        )

    def add(self, readings: Readings) -> None:
        """Have the gauges read *readings*, until its client is closed."""
        with self._lock:
            self._readings.add(readings)

    def discard(self, readings: Readings) -> None:
        """Have the gauges no longer read *readings*."""
        with self._lock:
            self._readings.discard(readings)

    def _waits(self, _options: CallbackOptions) -> Iterable[Observation]:
        return self._sums(lambda each: each.waits)

    def _rates(self, _options: CallbackOptions) -> Iterable[Observation]:
        return self._sums(lambda each: each.rate)

    def _sums(self, value_of: Callable[[Readings], float]) -> Iterator[Observation]:
        # Clients of one account have the same attributes, and only one value can have those.
        sums: dict[frozenset[tuple[str, str | int | float | bool]], float] = {}
        with self._lock:
            readings = [each for each in self._readings if each.is_open()]
        for each in readings:
            key = frozenset(each.attributes.items())
            sums[key] = sums.get(key, 0) + value_of(each)
        for key, value in sums.items():
            if not math.isinf(value):
                yield Observation(value, dict(key))


_made: WeakKeyDictionary[MeterProvider, Instruments] = WeakKeyDictionary()
_making = threading.Lock()


NOTHING = Instruments(NoOpMeterProvider())
"""Instruments that record nothing."""


def instruments_of(provider: MeterProvider) -> Instruments:
    """The instruments of *provider*; `NOTHING` for one of the API package.

    That of the application may then be set later.
    """
    if type(provider).__module__.startswith("opentelemetry.metrics."):
        return NOTHING
    with _making:
        found = _made.get(provider)
        if found is None:
            found = _made[provider] = Instruments(provider)
        return found
