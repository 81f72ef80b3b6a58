"""Events of one client, on their way to its listeners."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import logging
from collections.abc import Awaitable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

from vocalsep_async._event_log import POLLS, EventLog
from vocalsep_async._text import counted
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.instrumentation import Event, EventListener, JournalWritten

_logger = logging.getLogger("vocalsep_async.events")
_numbers = itertools.count(1)


def new_id(kind: str) -> str:
    """An id such as "wait-1", unique in the process."""
    return f"{kind}-{next(_numbers)}"


class Events:
    """Hands each event to the log, then to every listener, in order.

    Frequent events are made only if they are wanted:

        if events:
            events.emit(PollStarted(...))
        if events or error is not None:
            events.emit(PollFinished(...))

    because the log follows all polls from the first one that fails.
    """

    __slots__ = ("_all", "_listeners", "_log", "_logging")

    def __init__(self, listeners: Iterable[EventListener] = ()) -> None:
        self._log = EventLog()
        self._logging = _Guarded(self._log)
        self._take(tuple(_Guarded(each) for each in listeners))

    def __bool__(self) -> bool:
        """Whether a listener or the log wants the events of polls that succeed."""
        return bool(self._listeners) or bool(self._log.streaks) or POLLS.isEnabledFor(logging.DEBUG)

    def _take(self, listeners: tuple[_Guarded, ...]) -> None:
        # Never changed in place, because a listener may add another one while it is called.
        self._listeners = listeners
        self._all = (self._logging, *listeners)

    def add(self, listener: EventListener) -> None:
        """Hand the events from now on to *listener*, too, after the others."""
        self._take((*self._listeners, _Guarded(listener)))

    def remove(self, listener: EventListener) -> None:
        """Hand no more events to *listener*; how often it failed is logged."""
        for each in self._listeners:
            if each.listener is listener:
                each.report()
        self._take(tuple(each for each in self._listeners if each.listener is not listener))

    def emit(self, event: Event) -> None:
        """Hand *event* to the log and the listeners; only their cancellations and exits escape."""
        for listener in self._all:
            listener(event)

    def close(self) -> None:
        """Log how often listeners failed after the failure that was logged."""
        for listener in self._all:
            listener.report()


@contextlib.contextmanager
def timed_write(events: Events, path: Path) -> Iterator[None]:
    """A block that waits for a write to the journal at *path*, reported if that is wanted."""
    if not events:
        yield
        return
    began = asyncio.get_running_loop().time()
    yield
    duration = asyncio.get_running_loop().time() - began
    events.emit(JournalWritten(path=path, duration=duration))


class _Guarded:
    """A listener whose errors harm nothing: the first one is logged, others are counted."""

    __slots__ = ("_failures", "_reported", "listener")

    def __init__(self, listener: EventListener) -> None:
        self.listener = listener
        self._failures = 0
        self._reported = 0

    def __call__(self, event: Event) -> None:
        try:
            result = self.listener(event)
            if result is not None:
                _refuse_awaitable(result)
        except Exception as error:  # noqa: BLE001 - the listener may raise anything
            self._failures += 1
            if self._failures == 1:
                self._reported = 1
                name = _name_of(self.listener)
                _log(f"listener {name} failed at {event.name}; later failures are counted", error)

    def report(self) -> None:
        """Log the number of failures that were not logged yet."""
        unreported = self._failures - self._reported
        self._reported = self._failures
        if unreported:
            _log(f"listener {_name_of(self.listener)} failed {counted(unreported, 'more time')}")


def _log(message: str, error: Exception | None = None) -> None:
    # A filter of the application may raise, also for the message about its own error.
    with contextlib.suppress(Exception):
        _logger.error(message, exc_info=error)


def _refuse_awaitable(result: object) -> None:
    """Raise an error for a coroutine; a task or future goes on by itself and is no error."""
    if isinstance(result, Awaitable) and not isinstance(result, asyncio.Future):
        close = getattr(result, "close", None)
        if close is not None:
            # Python would warn of a coroutine that was never awaited.
            close()
        raise TypeError("the listener returned an awaitable, which nothing awaits")


def checked(on_event: object) -> tuple[EventListener, ...]:
    """Check what users pass as *on_event*: nothing, one function or several.

    Raises:
        InvalidArgumentError: it is something else, or async.
    """
    if on_event is None:
        return ()
    # An object that is both, such as a mock, is one listener.
    if callable(on_event):
        return (_checked(on_event),)
    if isinstance(on_event, Iterable) and not isinstance(on_event, (str, bytes)):
        return tuple(map(_checked, on_event))
    raise InvalidArgumentError(
        f"on_event must be a function or several in a list, not {type(on_event).__name__}"
    )


def _checked(listener: Any) -> EventListener:
    function = _without_partials(listener)
    # A class without its parentheses can be called, too, and would ignore every event.
    is_plain = callable(function) and not isinstance(function, type)
    if not is_plain or _does_nothing(function) or _does_nothing(type(function).__call__):
        raise InvalidArgumentError(
            "on_event must be a plain function, neither async nor a generator nor a class: "
            f"{_name_of(listener)}"
        )
    return cast("EventListener", listener)


def _does_nothing(function: object) -> bool:
    """Whether a call of *function* only makes an object that runs later."""
    return (
        inspect.iscoroutinefunction(function)
        or inspect.isasyncgenfunction(function)
        or inspect.isgeneratorfunction(function)
    )


def _name_of(listener: object) -> str:
    """The name of a listener; its repr may hold what must not be shown."""
    function = _without_partials(listener)
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _without_partials(listener: object) -> object:
    while isinstance(listener, partial):
        listener = listener.func
    return listener
