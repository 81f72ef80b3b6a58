"""The events as values, and what a client accepts as a listener."""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from event_values import EVENTS, OUTCOME, failed_poll
from fakes import make_client

from vocalsep_async import ConfigurationError, SeparationTask, Stems, TaskStatus, instrumentation
from vocalsep_async.instrumentation import Event, OutcomeDelivered

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reference" / "events.md").read_text(encoding="utf-8")
CLASSES = {
    each
    for _, each in inspect.getmembers(instrumentation, inspect.isclass)
    if issubclass(each, Event) and each is not Event
}
LINK = "https://cdn.example/v.mp3?signature=secret-of-the-link"
STEMS_WITH_A_LINK = SeparationTask(
    task_id="a", status=TaskStatus.SUCCESS, stems=Stems(vocal=LINK), raw={"vocal": LINK}
)


def test_the_tests_know_every_event() -> None:
    assert {type(each) for each in EVENTS} == CLASSES
    assert len(EVENTS) == len(CLASSES)


def test_every_event_has_a_dotted_name_of_its_own() -> None:
    names = [each.name for each in CLASSES]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+(\.[a-z]+)?", name) for name in names)


@pytest.mark.parametrize("event", EVENTS, ids=lambda each: each.name)
class TestEvent:
    """Every event."""

    def test_an_event_is_a_frozen_value_without_a_dictionary(self, event: Event) -> None:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            event.task_id = "b"  # type: ignore[attr-defined]
        assert not hasattr(event, "__dict__")

    def test_an_event_describes_every_field(self, event: Event) -> None:
        for field in attrs.fields(type(event)):
            # Python 3.13 strips the indentation from docstrings itself.
            assert f"\n    {field.name}: " in (inspect.getdoc(type(event)) or "")

    def test_an_event_takes_no_positional_argument(self, event: Event) -> None:
        assert all(field.kw_only for field in attrs.fields(type(event)))

    def test_an_event_survives_a_pickle_with_its_fields(self, event: Event) -> None:
        assert repr(pickle.loads(pickle.dumps(event))) == repr(event)

    def test_the_manual_lists_an_event_with_all_its_fields(self, event: Event) -> None:
        (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{event.name}` |"))
        assert f"`{type(event).__name__}`" in row
        assert set(re.findall(r"`(\w+)`", row.split("|")[4])) == {
            field.name for field in attrs.fields(type(event))
        }


def test_the_repr_of_an_event_shows_no_query_of_a_link() -> None:
    outcome = attrs.evolve(OUTCOME, task=STEMS_WITH_A_LINK)
    event = OutcomeDelivered(batch_id="batch-1", outcome=outcome)
    assert "secret-of-the-link" not in repr(event)
    assert event.outcome.task is not None
    assert event.outcome.task.stems.vocal == LINK


def test_the_repr_of_an_event_shows_no_message_of_a_foreign_error() -> None:
    text = repr(failed_poll(ValueError(LINK)))
    assert "error=<ValueError>" in text
    assert "secret-of-the-link" not in text


# What a client accepts


async def an_async_function(event: Event, token: str = "") -> None:
    """Would never run."""


async def an_async_generator(event: Event) -> AsyncIterator[Event]:
    """Would never run, either."""
    yield event


def a_generator(event: Event) -> Iterator[Event]:
    """Would never run, either."""
    yield event


class AsyncListener:
    async def __call__(self, event: Event) -> None:
        """Would never run."""

    async def method(self, event: Event) -> None:
        """Would never run."""

    def plain(self, event: Event) -> None:
        """A plain method."""


ASYNC = [
    an_async_function,
    an_async_generator,
    a_generator,
    AsyncListener(),
    AsyncListener().method,
    partial(an_async_function),
    partial(AsyncListener()),
    partial(partial(an_async_function)),
]


@pytest.mark.parametrize("listener", ASYNC)
def test_a_listener_that_is_async_or_a_generator_is_refused(listener: Any) -> None:
    with pytest.raises(ConfigurationError, match="on_event must be a plain function"):
        make_client(on_event=listener)
    with pytest.raises(ConfigurationError, match="on_event must be a plain function"):
        make_client(on_event=[print, listener])


@pytest.mark.parametrize("value", [5, "print", b"print", [5], ["print"], AsyncListener, [list]])
def test_a_value_that_is_no_listener_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="on_event must be a"):
        make_client(on_event=value)


def test_a_refused_listener_is_named_without_its_arguments() -> None:
    listener = partial(an_async_function, token="a secret")
    with pytest.raises(ConfigurationError) as caught:
        make_client(on_event=listener)
    assert "an_async_function" in str(caught.value)
    assert "a secret" not in str(caught.value)


class CallableList(list[Any]):
    def __call__(self, event: Event) -> None:
        self.append(event)


@pytest.mark.parametrize(
    "value, count",
    [
        (None, 0),
        ((), 0),
        (print, 1),
        (partial(print, "event"), 1),
        (AsyncListener().plain, 1),
        (CallableList(), 1),
        ([print, print], 2),
        ({print}, 1),
        (iter([print]), 1),
    ],
)
def test_a_client_has_the_listeners_that_it_was_given(value: Any, count: int) -> None:
    assert len(make_client(on_event=value)._engine.events._listeners) == count
