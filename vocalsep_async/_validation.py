"""Checks of what users pass, as functions and as attrs validators."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from datetime import datetime
from inspect import iscoroutinefunction
from typing import Any

from vocalsep_async._text import has_surrogates, is_visible
from vocalsep_async.errors import InvalidArgumentError

_Validator = Callable[[Any, Any, Any], None]
_LONGEST_ID = 512
LONGEST_LABEL = 255
"""Characters of a label: as many as a name of a file may have."""
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Categories of characters that are no part of a name: controls, line ends, lone surrogates."""


def number(value: object, name: str, *, minimum: float, above: bool = False) -> float:
    """Return *value*, a finite number of at least *minimum* (with *above*: above it), as a float.

    Raises:
        InvalidArgumentError: *value* is something else; the message names it *name*.
    """
    # bool is a subclass of int, but a flag passed for a number is a mistake.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidArgumentError(f"{name} must be a number, not {type(value).__name__}")
    exact = _as_float(value)
    if not math.isfinite(exact) or exact < minimum or (above and exact == minimum):
        bound = "above" if above else "at least"
        raise InvalidArgumentError(
            f"{name} must be a finite number {bound} {minimum:g}, not {exact}"
        )
    return exact


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an int of hundreds of digits
        return math.inf if value > 0 else -math.inf


def at_least(minimum: float) -> _Validator:
    """An attrs validator: a finite number of at least *minimum*."""
    return lambda _, attribute, value: _pass(number(value, attribute.name, minimum=minimum))


def above(minimum: float) -> _Validator:
    """An attrs validator: a finite number above *minimum*."""
    return lambda _, attribute, value: _pass(
        number(value, attribute.name, minimum=minimum, above=True)
    )


def fraction(_instance: object, attribute: Any, value: object) -> None:
    """An attrs validator: a number of at least 0 and below 1."""
    if number(value, attribute.name, minimum=0.0) >= 1:
        raise InvalidArgumentError(f"{attribute.name} must be below 1, not {value}")


def share(_instance: object, attribute: Any, value: object) -> None:
    """An attrs validator: a number from 0 to 1."""
    if number(value, attribute.name, minimum=0.0) > 1:
        raise InvalidArgumentError(f"{attribute.name} must be at most 1, not {value}")


def whole(_instance: object, attribute: Any, value: object) -> None:
    """An attrs validator: a whole number of at least 1."""
    at_least_one(value, attribute.name)


def at_least_one(value: object, name: str) -> int:
    """Return *value*, a whole number of at least 1.

    Raises:
        InvalidArgumentError: *value* is something else; the message names it *name*.
    """
    return whole_from(1, value, name)


def whole_from(minimum: int, value: object, name: str) -> int:
    """Return *value*, a whole number of at least *minimum*.

    Raises:
        InvalidArgumentError: *value* is something else; the message names it *name*.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentError(f"{name} must be a whole number, not {type(value).__name__}")
    number(value, name, minimum=minimum)
    return value


def timeout(value: object, name: str = "timeout") -> float | None:
    """Return a timeout in seconds, at least 0; None for None and for infinity: no timeout.

    Raises:
        InvalidArgumentError: *value* is negative, NaN or not a number; the message names it *name*.
    """
    # Computed timeouts may be infinite, which elsewhere is no valid number.
    if value is None or (isinstance(value, float) and value == math.inf):
        return None
    return number(value, name, minimum=0.0)


def plain_function(value: object, name: str) -> None:
    """Check what is called with reports: a plain function, or None.

    Raises:
        InvalidArgumentError: *value* is something else; the message names it *name*.
    """
    # An object with an async `__call__` is not a coroutine function itself.
    if value is not None and (
        not callable(value)
        or iscoroutinefunction(value)
        or iscoroutinefunction(type(value).__call__)
    ):
        raise InvalidArgumentError(f"{name} must be a plain function: it is not awaited")


def usable_task_id(_instance: object, _attribute: object, value: Any) -> None:
    """An attrs validator: a task id that can be sent, and is not meant otherwise."""
    if not isinstance(value, str):
        raise InvalidArgumentError(
            f"a task id is a string, not {type(value).__name__}: pass what create_task() "
            'returned, or the id itself, as in get_task("5c79…be8e")'
        )
    if not value.strip():
        raise InvalidArgumentError("the task id is empty")
    if len(value) > _LONGEST_ID:
        raise InvalidArgumentError(
            f"the task id has {len(value)} characters; at most {_LONGEST_ID} are sent"
        )
    if has_surrogates(value):
        raise InvalidArgumentError(
            "the task id holds a lone surrogate, which no server could read back"
        )
    # Ids are read from files and forms. Sent as they are, they would cost polls, only to be told
    # that there is no such task.
    if value != value.strip():
        raise InvalidArgumentError("the task id has leading or trailing whitespace: strip it")
    # More than control characters: byte order marks and other invisible ones are copied along.
    if not is_visible(value):
        wrong = next(character for character in value if not is_visible(character))
        raise InvalidArgumentError(
            f"the task id holds the character {wrong!a}: pass one id, without what is around it "
            "in a file (.strip() removes line ends)"
        )


def aware_time(_instance: object, _attribute: object, value: Any) -> None:
    """An attrs validator: a time with a zone, or None."""
    if value is None or (isinstance(value, datetime) and value.utcoffset() is not None):
        return
    raise InvalidArgumentError(
        "created_at must be a datetime with a time zone, as in datetime.now(timezone.utc), or None"
    )


def usable_route(_instance: object, _attribute: object, value: Any) -> None:
    """An attrs validator: the name of a provider, or None."""
    if value is not None and not (isinstance(value, str) and value.strip()):
        raise InvalidArgumentError(
            'route must be the name of a provider, such as "kie_jobs", or None for the client\'s'
        )


def usable_label(_instance: object, _attribute: object, value: Any) -> None:
    """An attrs validator: a name for people on one line, or None."""
    if value is None:
        return
    if not isinstance(value, str):
        raise InvalidArgumentError(f"label must be a string or None, not {type(value).__name__}")
    if not value.strip():
        raise InvalidArgumentError("label is blank: leave it out, or pass None")
    if len(value) > LONGEST_LABEL:
        raise InvalidArgumentError(
            f"label has {len(value):,} characters; at most {LONGEST_LABEL} are kept"
        )
    # Joiners and marks are parts of names in many scripts, although Python prints some of them
    # escaped: only what no name holds is refused.
    if not value.isprintable():
        for character in value:
            if unicodedata.category(character) in _CONTROLS:
                raise InvalidArgumentError(
                    f"label holds the character {character!a}: a label is one line of text"
                )


def flag(_instance: object, attribute: Any, value: Any) -> None:
    """An attrs validator: True or False."""
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"{attribute.name} must be True or False")


def _pass(_value: float) -> None:
    """Drop the value: attrs expects validators to return None."""
