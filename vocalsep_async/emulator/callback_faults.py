"""What goes wrong with callbacks: how many, in which ways, and by how much."""

from __future__ import annotations

import enum
from typing import Any

from attrs import field, frozen

from vocalsep_async import _validation
from vocalsep_async.errors import InvalidArgumentError

_LONGEST_SKEW = 1e9
"""Seconds; keeps the timestamp of a signature a positive number."""


class CallbackKind(enum.StrEnum):
    """What a callback of the emulator is: one of the service, or a forged one.

    A forged one is posted once, and its answer is ignored. It says what the task will end with,
    unless it says otherwise below.
    """

    GENUINE = "genuine"
    """The service tells the end of the task by it."""
    IN_PROGRESS = "in_progress"
    """The service posted it before the end of the task, with code 202."""
    LOST = "lost"
    """The service posted it, and it never arrived: the record of the task stays a success."""
    REPEATED = "repeated"
    """The service posted it once more, byte by byte, after it was answered with HTTP 200."""
    WRONG_SIGNATURE = "wrong_signature"
    """Forged: signed with another key."""
    STALE = "stale"
    """Forged: well signed, an hour ago, as by a program that replays what it has recorded."""
    UNSIGNED = "unsigned"
    """Forged: without the headers that sign it."""
    CHANGED = "changed"
    """Forged: well signed, with a body that claims a success with links to another host.

    The signature covers the id of the task and the time, but not the body.
    """
    WRONG_ADDRESS = "wrong_address"
    """Forged: posted to the callback URL with one more character at its end."""


FORGED: tuple[CallbackKind, ...] = (
    CallbackKind.WRONG_SIGNATURE,
    CallbackKind.STALE,
    CallbackKind.UNSIGNED,
    CallbackKind.CHANGED,
    CallbackKind.WRONG_ADDRESS,
)
POSTABLE: tuple[CallbackKind, ...] = (CallbackKind.GENUINE, CallbackKind.IN_PROGRESS, *FORGED)
"""The kinds that a callback may be sent as; what becomes of one on its way makes the others."""
_NEEDS_KEY = FORGED[:3]
"""The kinds that differ from a genuine callback in their signature alone."""


def check_key(kind: CallbackKind, webhook_key: str | None) -> None:
    """Check that callbacks of *kind* can be posted with *webhook_key*.

    Raises:
        InvalidArgumentError: there is no key, and they differ from others in their signature alone.
    """
    if kind in _NEEDS_KEY and webhook_key is None:
        raise InvalidArgumentError(
            f"{kind} callbacks need a webhook_key, without which no callback is signed"
        )


def _delay(_instance: object, _attribute: object, value: Any) -> None:
    match value:
        case (least, most):
            _validation.number(least, "the first number of delay", minimum=0)
            _validation.number(most, "the second number of delay", minimum=least)
        case _:
            raise InvalidArgumentError(
                "delay must be (least, most) in seconds, such as (1.0, 3.0), not "
                f"{type(value).__name__}"
            )


def _skew(_instance: object, _attribute: object, value: object) -> None:
    if _validation.number(value, "clock_skew", minimum=-_LONGEST_SKEW) > _LONGEST_SKEW:
        raise InvalidArgumentError(f"clock_skew must be at most {_LONGEST_SKEW:g}, not {value}")


@frozen(kw_only=True)
class CallbackFaults:
    """What goes wrong with the callbacks of an `Emulator`; nothing by default.

    Every share is from 0 to 1. Which tasks are hit follows from the seed of the emulator and the
    id of the task alone: the same seed gives the same faults, and one fault leaves the others as
    they are. All times are in real seconds, whatever the speed of the emulator.

    Args:
        lost: share of the callbacks that never arrive.
        repeated: share of the callbacks that arrive once more.
        reordered: share of the callbacks that wait until the next one, of any task, has been
            posted; for at most five seconds.
        delay: least and most seconds by which a callback comes too late.
        in_progress: share of the tasks that also post a callback of code 202, some time before
            their end.
        null_data: share of the failures whose callback has no data at all, not even the task's id.
        clock_skew: seconds by which the clock of the service is ahead of this machine's, in the
            timestamps of signatures; negative for one that is behind. At most a thousand million.
        wrong_signature: share of the tasks for which a callback with a wrong signature comes, some
            time before their end; needs a ``webhook_key``. See `CallbackKind` for this and the
            following ones.
        stale: the same, for an old signature; needs a ``webhook_key``.
        unsigned: the same, without a signature; needs a ``webhook_key``.
        changed: the same, for a well-signed callback that claims what is not true.
        wrong_address: the same, at a wrong address.

    Raises:
        InvalidArgumentError: a value is out of its range.
    """

    lost: float = field(default=0.0, validator=_validation.share)
    repeated: float = field(default=0.0, validator=_validation.share)
    reordered: float = field(default=0.0, validator=_validation.share)
    delay: tuple[float, float] = field(default=(0.0, 0.0), validator=_delay)
    in_progress: float = field(default=0.0, validator=_validation.share)
    null_data: float = field(default=0.0, validator=_validation.share)
    clock_skew: float = field(default=0.0, validator=_skew)
    wrong_signature: float = field(default=0.0, validator=_validation.share)
    stale: float = field(default=0.0, validator=_validation.share)
    unsigned: float = field(default=0.0, validator=_validation.share)
    changed: float = field(default=0.0, validator=_validation.share)
    wrong_address: float = field(default=0.0, validator=_validation.share)

    def share_of(self, kind: CallbackKind) -> float:
        """The share of the tasks that a forged callback of *kind* is posted for."""
        return {
            CallbackKind.WRONG_SIGNATURE: self.wrong_signature,
            CallbackKind.STALE: self.stale,
            CallbackKind.UNSIGNED: self.unsigned,
            CallbackKind.CHANGED: self.changed,
            CallbackKind.WRONG_ADDRESS: self.wrong_address,
        }[kind]
