"""Checks of numbers that users pass, and their messages."""

import math
from typing import Any

import pytest
from attrs import field, frozen

from vocalsep_async import _validation
from vocalsep_async.errors import InvalidArgumentError

NO_NUMBERS: list[Any] = [None, "5", b"5", True, False, [5], {}, 5 + 0j, object()]
HUGE = pytest.param(10**400, id="huge")
NOT_FINITE: list[Any] = [math.nan, math.inf, -math.inf, HUGE, pytest.param(-(10**400), id="-huge")]


@frozen
class _Options:
    low: Any = field(default=0, validator=_validation.at_least(0))
    positive: Any = field(default=1, validator=_validation.above(0))
    share: Any = field(default=0, validator=_validation.fraction)
    count: Any = field(default=1, validator=_validation.whole)


@pytest.mark.parametrize("value", NO_NUMBERS + NOT_FINITE)
@pytest.mark.parametrize("name", ["low", "positive", "share", "count"])
def test_validators_refuse_what_is_not_a_finite_number_and_name_the_option(
    name: str, value: Any
) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{name} must be"):
        _Options(**{name: value})


@pytest.mark.parametrize(
    "name, value",
    [
        ("low", -1e-9),
        ("positive", 0),
        ("positive", -1),
        ("share", -0.1),
        ("share", 1),
        ("share", 1.5),
        ("count", 0),
        ("count", -3),
        ("count", 2.0),
    ],
)
def test_validators_refuse_a_number_out_of_its_range(name: str, value: float) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{name} must be"):
        _Options(**{name: value})


@pytest.mark.parametrize(
    "name, value",
    [
        ("low", 0),
        ("low", 5),
        ("positive", 5e-324),
        ("share", 0),
        ("share", 0.999),
        ("count", 1),
        ("count", 10**9),
    ],
)
def test_validators_accept_a_number_in_its_range(name: str, value: float) -> None:
    assert getattr(_Options(**{name: value}), name) == value


def test_the_message_of_a_refused_number_names_the_bound() -> None:
    with pytest.raises(InvalidArgumentError, match=r"at least 2, not 1\.5$"):
        _validation.number(1.5, "patience", minimum=2)
    with pytest.raises(InvalidArgumentError, match=r"above 2, not 2\.0$"):
        _validation.number(2, "patience", minimum=2, above=True)


def test_number_returns_an_int_as_a_float() -> None:
    assert isinstance(_validation.number(3, "patience", minimum=0), float)


@pytest.mark.parametrize(
    "value, seconds", [(None, None), (math.inf, None), (0, 0.0), (1.5, 1.5), (1e12, 1e12)]
)
def test_timeout_returns_seconds_or_none_for_no_timeout(
    value: float | None, seconds: float | None
) -> None:
    assert _validation.timeout(value) == seconds


@pytest.mark.parametrize("value", [-1, -math.inf, math.nan, "10", True, HUGE])
def test_timeout_refuses_what_is_no_number_of_seconds(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^request_timeout must be"):
        _validation.timeout(value, "request_timeout")
