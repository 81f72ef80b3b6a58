"""Checks of numbers that users pass, as functions and as attrs validators."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from vocalsep_async.errors import InvalidArgumentError

_Validator = Callable[[Any, Any, Any], None]


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


def whole(_instance: object, attribute: Any, value: object) -> None:
    """An attrs validator: a whole number of at least 1."""
    at_least_one(value, attribute.name)


def at_least_one(value: object, name: str) -> int:
    """Return *value*, a whole number of at least 1.

    Raises:
        InvalidArgumentError: *value* is something else; the message names it *name*.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentError(f"{name} must be a whole number, not {type(value).__name__}")
    number(value, name, minimum=1)
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


def _pass(_value: float) -> None:
    """Drop the value: attrs expects validators to return None."""
