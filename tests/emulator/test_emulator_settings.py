"""The options of an emulator, and their ranges."""

import math
import pydoc
import re
from typing import Any

import attrs
import pytest

import vocalsep_async.emulator
from vocalsep_async.emulator import Emulator
from vocalsep_async.errors import InvalidArgumentError


@pytest.mark.parametrize(
    "option, value",
    [
        ("api_key", ""),
        ("api_key", 7),
        ("provider", "suno"),
        ("speed", 0),
        ("speed", math.inf),
        ("speed", math.nan),
        ("speed", "fast"),
        ("speed", True),
        ("speed", 10**400),
        ("seed", 1.5),
        ("seed", True),
        ("rate_limit", (0, 10.0)),
        ("rate_limit", (20, 0)),
        ("creation_limit", (20, 0)),
        ("creation_limit", "20"),
        ("rate_limit", (20, "ten")),
        ("rate_limit", (20, 10**400)),
        ("rate_limit", (10**400, 10.0)),
        ("rate_limit", (True, 10.0)),
        ("rate_limit", (20.0, 10.0)),
        ("rate_limit", (20, 10.0, 1)),
        ("rate_limit", 20),
        ("throttle_code", 429),
        ("throttle_code", 430.0),
        ("throttle_in", "header"),
        ("throttle_in", ["body"]),
        ("cors", 1),
        ("count_throttled", "no"),
        ("count_throttled", 1),
        ("retry_after", -1),
        ("credits", -1),
        ("credits", None),
        ("failure_rate", 1.1),
        ("failure_rate", -0.1),
        ("failure_rate", 10**400),
        ("lookup_lag", -0.1),
        ("link_lifetime", -1),
        ("latency", -1),
        ("webhook_key", " "),
        ("api_key", "key\ud800"),
        ("webhook_key", "\udcffkey"),
        ("port", 65_536),
        ("port", -1),
        ("port", "80"),
        pytest.param("port", 10**5000, id="port-huge"),
        ("host", "0.0.0.0"),
        ("host", "localhost"),
    ],
)
def test_an_option_out_of_its_range_is_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=option):
        Emulator(**{option: value})


def test_the_message_states_the_range_of_a_number() -> None:
    with pytest.raises(InvalidArgumentError, match=r"failure_rate must be at most 1, not 2"):
        Emulator(failure_rate=2)
    with pytest.raises(InvalidArgumentError, match=r"speed must be a finite number above 0, not 0"):
        Emulator(speed=0)


@pytest.mark.parametrize("option", ["api_key", "webhook_key"])
def test_a_key_with_a_lone_surrogate_is_refused_and_not_shown(option: str) -> None:
    options: dict[str, Any] = {option: "secret\ud83c"}
    with pytest.raises(
        InvalidArgumentError, match=f"^{option} contains a lone surrogate"
    ) as caught:
        Emulator(**options)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "options, code",
    [
        ({}, 430),
        ({"throttle_code": 405}, 405),
        ({"provider": "kie"}, 429),
        ({"provider": "kie", "throttle_code": 430}, 430),
    ],
)
def test_the_throttle_code_follows_the_provider(options: dict[str, Any], code: int) -> None:
    assert Emulator(**options).effective_throttle_code == code


def test_a_throttle_code_of_the_other_provider_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"throttle_code must be one of \(429, 430\)"):
        Emulator(provider="kie", throttle_code=405)


def test_the_message_lists_the_words_that_are_allowed() -> None:
    with pytest.raises(
        InvalidArgumentError, match="provider must be one of sunoapi, kie, kie_jobs, not 'suno'"
    ):
        Emulator(provider="suno")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "option, value",
    [
        ("api_key", None),
        ("api_key", "cl\u00e9 \U0001f511"),
        ("webhook_key", "\ud7ff\ue000"),
        ("speed", 10**300),
        ("seed", -(10**400)),
        ("rate_limit", [1, 0.001]),
        ("retry_after", 0),
        ("credits", 0),
        ("failure_rate", 1),
        ("link_lifetime", 0),
        ("port", 65_535),
        ("host", "127.0.0.1"),
    ],
)
def test_the_bounds_of_an_option_are_in_its_range(option: str, value: Any) -> None:
    assert getattr(Emulator(**{option: value}), option) == value


@pytest.mark.parametrize(
    "option", [option.name for option in attrs.fields(Emulator) if option.init]
)
def test_help_explains_each_option(option: str) -> None:
    text = pydoc.plain(pydoc.render_doc(vocalsep_async.emulator))
    assert re.search(rf"^[ |]*{option}: [^'\"]{{10}}", text, re.MULTILINE)


def test_options_cannot_be_changed() -> None:
    emulator = Emulator()
    with pytest.raises(attrs.exceptions.FrozenAttributeError):
        emulator.speed = 2.0
    emulator.maintenance = True
