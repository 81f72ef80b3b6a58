"""The options of an emulator, and the checks of their ranges."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

import attrs
from attrs import define, field
from attrs.validators import optional

from vocalsep_async import _validation
from vocalsep_async.emulator.callback_faults import FORGED, CallbackFaults, check_key
from vocalsep_async.emulator.profiles import PROFILES, ProviderProfile
from vocalsep_async.errors import InvalidArgumentError

_Validator = Callable[[Any, Any, Any], None]
_Word = TypeVar("_Word", bound=str)
_LOOPBACK = "127.0.0.1"
_TWO_WEEKS = 14 * 86_400.0
_THREE_DAYS = 3 * 86_400.0


def one_of(known: Iterable[_Word], value: object, name: str) -> _Word:
    """Return the one of *known* that equals *value*.

    Args:
        known: the words that are allowed.
        value: an argument of a user.
        name: the name of that argument, for the message.

    Raises:
        InvalidArgumentError: none of them equals *value*.
    """
    words = tuple(known)
    for word in words:
        if word == value:
            return word
    given = repr(value) if isinstance(value, str) else type(value).__name__
    raise InvalidArgumentError(f"{name} must be one of {', '.join(words)}, not {given}")


def _word(*known: str) -> _Validator:
    def check(_instance: object, attribute: Any, value: object) -> None:
        one_of(known, value, attribute.name)

    return check


def _whole(_instance: object, attribute: Any, value: object) -> None:
    # Not isinstance: bool is a subclass of int.
    if type(value) is not int:
        raise InvalidArgumentError(
            f"{attribute.name} must be a whole number, not {type(value).__name__}"
        )


def _port(instance: object, attribute: Any, value: Any) -> None:
    _whole(instance, attribute, value)
    if not 0 <= value <= 65_535:
        raise InvalidArgumentError(f"{attribute.name} must be from 0 to 65535")


def _flag(_instance: object, attribute: Any, value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidArgumentError(
            f"{attribute.name} must be True or False, not {type(value).__name__}"
        )


def _usable_key(_instance: object, attribute: Any, value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise InvalidArgumentError(f"{attribute.name} must be a string that is not blank, or None")
    if value is not None and any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidArgumentError(
            f"{attribute.name} contains a lone surrogate, which no HTTP header can carry"
        )


def _rate_limit(_instance: object, attribute: Any, value: Any) -> None:
    match value:
        case None:
            return
        # The limit becomes the length of a deque, which has this maximum.
        case (limit, period) if type(limit) is int and 1 <= limit <= sys.maxsize:
            _validation.number(period, f"the seconds of {attribute.name}", minimum=0, above=True)
        case _:
            raise InvalidArgumentError(
                f"{attribute.name} must be (requests, seconds) such as (20, 10.0), or None for "
                "no limit"
            )


def _throttle_code(settings: Any, _attribute: object, value: object) -> None:
    known = settings.profile.throttle_codes
    if value is not None and (type(value) is not int or value not in known):
        raise InvalidArgumentError(
            f"throttle_code must be one of {known} for {settings.provider}, or None"
        )


def _callbacks(settings: Any, attribute: Any, value: object) -> None:
    if not isinstance(value, CallbackFaults):
        raise InvalidArgumentError(
            f"{attribute.name} must be a CallbackFaults, not {type(value).__name__}"
        )
    for kind in FORGED:
        if value.share_of(kind):
            check_key(kind, settings.webhook_key)


def _loopback_only(_instance: object, _attribute: object, value: object) -> None:
    if value != _LOOPBACK:
        raise InvalidArgumentError(
            f"host must be {_LOOPBACK}: the emulator is for programs on this machine only"
        )


@define(kw_only=True, on_setattr=attrs.setters.frozen, slots=False, eq=False, repr=False)
class EmulatorSettings:
    """The options of an `Emulator`, whose documentation explains each of them.

    Raises:
        InvalidArgumentError: an option is out of its range.
    """

    api_key: str | None = field(default=None, validator=_usable_key)
    provider: Literal["sunoapi", "kie", "kie_jobs"] = field(
        default="sunoapi", validator=_word(*PROFILES)
    )
    speed: float = field(default=1.0, validator=_validation.above(0))
    seed: int = field(default=0, validator=_whole)
    rate_limit: tuple[int, float] | None = field(default=(20, 10.0), validator=_rate_limit)
    creation_limit: tuple[int, float] | None = field(default=None, validator=_rate_limit)
    throttle_code: int | None = field(default=None, validator=_throttle_code)
    throttle_in: Literal["body", "status"] = field(
        default="body", validator=_word("body", "status")
    )
    count_throttled: bool = field(default=False, validator=_flag)
    retry_after: float | None = field(default=None, validator=optional(_validation.at_least(0)))
    credits: float = field(default=1000.0, validator=_validation.at_least(0))
    failure_rate: float = field(default=0.0, validator=_validation.share)
    lookup_lag: float = field(default=0.0, validator=_validation.at_least(0))
    link_lifetime: float = field(default=_TWO_WEEKS, validator=_validation.at_least(0))
    upload_lifetime: float = field(default=_THREE_DAYS, validator=_validation.at_least(0))
    latency: float = field(default=0.0, validator=_validation.at_least(0))
    cors: bool = field(default=False, validator=_flag)
    webhook_key: str | None = field(default=None, validator=_usable_key)
    callbacks: CallbackFaults = field(factory=CallbackFaults, validator=_callbacks)
    port: int = field(default=0, validator=_port)
    host: str = field(default=_LOOPBACK, validator=_loopback_only)

    @property
    def profile(self) -> ProviderProfile:
        """The paths, codes, and names of `provider`."""
        return PROFILES[self.provider]

    @property
    def effective_throttle_code(self) -> int:
        """The code of throttled requests: `throttle_code`, or the usual one of `provider`."""
        return self.throttle_code or self.profile.throttle_codes[0]
