"""The options of an emulator, checked before anything starts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import attrs
from attrs import define, field

from vocalsep_async.emulator.dialect import DIALECTS, Dialect
from vocalsep_async.errors import ConfigurationError

_Validator = Callable[[Any, Any, Any], None]
LOOPBACK = "127.0.0.1"
_TWO_WEEKS = 14 * 86_400.0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(low: float = 0.0, high: float = math.inf, *, above: bool = False) -> _Validator:
    """Accept finite numbers from *low* (left out if *above*) to *high*."""

    def check(_instance: object, attribute: Any, value: Any) -> None:
        if _is_number(value) and low <= value <= high and not (above and value == low):
            return
        least = f"more than {low:g}" if above else f"{low:g} or more"
        most = "" if high == math.inf else f" and at most {high:g}"
        raise ConfigurationError(f"{attribute.name} is {least}{most}, not {value!r}")

    return check


def _one_of(*known: object) -> _Validator:
    def check(_instance: object, attribute: Any, value: object) -> None:
        if value not in known:
            raise ConfigurationError(f"{attribute.name} is one of {known}, not {value!r}")

    return check


def _whole(low: float, high: float) -> _Validator:
    def check(_instance: object, attribute: Any, value: Any) -> None:
        if type(value) is not int or not low <= value <= high:
            raise ConfigurationError(
                f"{attribute.name} is a whole number from {low} to {high}, not {value!r}"
            )

    return check


def _optional(validator: _Validator) -> _Validator:
    return attrs.validators.optional(validator)


def _usable_key(_instance: object, attribute: Any, value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise ConfigurationError(f"{attribute.name} is a string that is not blank, or None")


def _limit_and_period(_instance: object, _attribute: object, value: Any) -> None:
    match value:
        case None:
            return
        case (int() as limit, period) if limit >= 1 and _is_number(period) and period > 0:
            return
    raise ConfigurationError(
        f"rate_limit is (requests, seconds) such as (20, 10.0), or None for no limit, not {value!r}"
    )


def _code_of_dialect(settings: Any, _attribute: object, value: object) -> None:
    known = DIALECTS[settings.dialect].refuse_codes
    if value is not None and value not in known:
        raise ConfigurationError(
            f"refuse_code is one of {known} in the dialect {settings.dialect!r}, not {value!r}"
        )


def _loopback_only(_instance: object, _attribute: object, value: object) -> None:
    if value != LOOPBACK:
        raise ConfigurationError(
            f"the emulator listens on {LOOPBACK} only, not on {value!r}: it is no server for "
            "others to reach"
        )


@define(kw_only=True, on_setattr=attrs.setters.frozen, slots=False, eq=False, repr=False)
class Settings:
    """The options of an `Emulator`; all have to be named, and none can be changed afterwards.

    Attributes:
        api_key: the key that is accepted; None accepts any that is not blank.
        dialect: whose codes and shapes to speak, "sunoapi" or "kie".
        speed: how many times faster than life the tasks and the pauses between two tries of a
            callback go; more than 0.
        seed: what the task ids, durations and failures are drawn from.
        rate_limit: (requests, seconds), at most so many in any such time; None for no limit.
            Files do not count.
        refuse_code: the code for too many requests: 430 or 405 of sunoapi, 429 or 430 of kie.
            None takes the first.
        refuse_in: whether a refusal comes under HTTP 200 ("body"), as all other errors do, or
            under an HTTP status of the same number ("status").
        count_refused: whether refused requests count against the limit too.
        retry_after: seconds in the ``Retry-After`` header of refusals; None sends no header.
        credits: what the account holds at the start; 0 or more.
        failure_rate: the share of tasks that fail, from 0 to 1.
        lookup_lag: seconds after its creation during which a task is still unknown to
            record-info; 0 or more.
        link_lifetime: seconds that the link of a file holds, from the moment it was given;
            0 or more, 0 gives links that have expired.
        latency: seconds before each answer; 0 or more.
        webhook_key: signs the callbacks as kie.ai describes it; None sends them unsigned.
        port: where to listen; 0 takes a free port.
        host: 127.0.0.1, and nothing else.

    Raises:
        ConfigurationError: an option is out of its range.
    """

    api_key: str | None = field(default=None, validator=_usable_key)
    dialect: Literal["sunoapi", "kie"] = field(default="sunoapi", validator=_one_of(*DIALECTS))
    speed: float = field(default=1.0, validator=_number(above=True))
    seed: int = field(default=0, validator=_whole(-math.inf, math.inf))
    rate_limit: tuple[int, float] | None = field(default=(20, 10.0), validator=_limit_and_period)
    refuse_code: int | None = field(default=None, validator=_code_of_dialect)
    refuse_in: Literal["body", "status"] = field(
        default="body", validator=_one_of("body", "status")
    )
    count_refused: bool = field(default=False, validator=_one_of(False, True))
    retry_after: float | None = field(default=None, validator=_optional(_number()))
    credits: float = field(default=1000.0, validator=_number())
    failure_rate: float = field(default=0.0, validator=_number(0.0, 1.0))
    lookup_lag: float = field(default=0.0, validator=_number())
    link_lifetime: float = field(default=_TWO_WEEKS, validator=_number())
    latency: float = field(default=0.0, validator=_number())
    webhook_key: str | None = field(default=None, validator=_usable_key)
    port: int = field(default=0, validator=_whole(0, 65_535))
    host: str = field(default=LOOPBACK, validator=_loopback_only)

    @property
    def manners(self) -> Dialect:
        """The codes and shapes of `dialect`."""
        return DIALECTS[self.dialect]

    @property
    def refusal_code(self) -> int:
        """The code for too many requests that is in force."""
        return self.refuse_code or self.manners.refuse_codes[0]
