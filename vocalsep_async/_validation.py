"""Validators for numbers that users pass: a clear sentence before any request is made."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from vocalsep_async.errors import InvalidArgumentError

_Validator = Callable[[Any, Any, Any], None]


def number(value: object, name: str, *, minimum: float, above: bool = False) -> float:
    """Return *value* as a float.

    Raises:
        InvalidArgumentError: it is no finite number, or below *minimum* (or equal, with *above*).
    """
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
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf if value > 0 else -math.inf


def at_least(minimum: float) -> _Validator:
    """A validator for finite numbers not below *minimum*."""
    return lambda _, attribute, value: _pass(number(value, attribute.name, minimum=minimum))


def above(minimum: float) -> _Validator:
    """A validator for finite numbers above *minimum*."""
    return lambda _, attribute, value: _pass(
        number(value, attribute.name, minimum=minimum, above=True)
    )


def fraction(_instance: object, attribute: Any, value: object) -> None:
    """A validator for numbers from 0 up to, not including, 1."""
    if number(value, attribute.name, minimum=0.0) >= 1:
        raise InvalidArgumentError(f"{attribute.name} must be below 1, not {value}")


def whole(_instance: object, attribute: Any, value: object) -> None:
    """A validator for whole numbers from 1."""
    at_least_one(value, attribute.name)


def at_least_one(value: object, name: str) -> int:
    """Return *value* if it is a whole number from 1.

    Raises:
        InvalidArgumentError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentError(f"{name} must be a whole number, not {type(value).__name__}")
    number(value, name, minimum=1)
    return value


def timeout(value: object, name: str = "timeout") -> float | None:
    """Return a timeout in seconds: 0 or more, infinity and None both meaning no limit.

    Raises:
        InvalidArgumentError: it is negative, not a number, or NaN.
    """
    if value is None or (isinstance(value, float) and value == math.inf):
        return None
    return number(value, name, minimum=0.0)


def _pass(_value: float) -> None:
    """Drop the value: attrs wants validators that return nothing."""
