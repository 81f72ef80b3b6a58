"""The options and their ranges."""

import math
from typing import Any

import attrs
import pytest

from vocalsep_async.emulator import Emulator
from vocalsep_async.errors import ConfigurationError


@pytest.mark.parametrize(
    "option, value",
    [
        ("api_key", ""),
        ("api_key", 7),
        ("dialect", "klingon"),
        ("speed", 0),
        ("speed", math.inf),
        ("speed", math.nan),
        ("speed", "fast"),
        ("speed", True),
        ("seed", 1.5),
        ("rate_limit", (0, 10.0)),
        ("rate_limit", (20, 0)),
        ("rate_limit", (20, "ten")),
        ("rate_limit", 20),
        ("refuse_code", 429),
        ("refuse_in", "header"),
        ("count_refused", "no"),
        ("retry_after", -1),
        ("credits", -1),
        ("failure_rate", 1.1),
        ("lookup_lag", -0.1),
        ("link_lifetime", -1),
        ("latency", -1),
        ("webhook_key", " "),
        ("port", 65_536),
        ("host", "0.0.0.0"),
        ("host", "localhost"),
    ],
)
def test_an_option_out_of_range_is_refused_by_its_name(option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{option}|listens on 127.0.0.1 only"):
        Emulator(**{option: value})


def test_the_range_of_a_number_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"failure_rate is 0 or more and at most 1, not 2"):
        Emulator(failure_rate=2)
    with pytest.raises(ConfigurationError, match=r"speed is more than 0, not 0"):
        Emulator(speed=0)


@pytest.mark.parametrize(
    "options, code",
    [
        ({}, 430),
        ({"refuse_code": 405}, 405),
        ({"dialect": "kie"}, 429),
        ({"dialect": "kie", "refuse_code": 430}, 430),
    ],
)
def test_the_code_of_refusals_follows_the_dialect(options: dict[str, Any], code: int) -> None:
    assert Emulator(**options).refusal_code == code


def test_a_code_of_the_other_dialect_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"refuse_code is one of \(429, 430\)"):
        Emulator(dialect="kie", refuse_code=405)


def test_options_cannot_be_changed_afterwards() -> None:
    emulator = Emulator()
    with pytest.raises(attrs.exceptions.FrozenAttributeError):
        emulator.speed = 2.0
    emulator.maintenance = True
