"""Creating a task is billed each time: when a request may be sent again, and when it must not."""

from __future__ import annotations

from vocalsep_async.errors import (
    ClientClosedError,
    DecodeError,
    ServerError,
    TransportError,
    Verdict,
    VocalSepError,
)


def cannot_have_created(error: VocalSepError) -> bool:
    """Whether a billed call that met *error* may be sent again."""
    if isinstance(error, TransportError):
        return not error.may_have_arrived and error.verdict is Verdict.RETRY
    return error.verdict is Verdict.PAUSE_EVERYONE


def may_have_created(error: VocalSepError) -> bool:
    """Whether a billed call that met *error* may have been carried out."""
    if isinstance(error, (TransportError, ClientClosedError)):
        return error.may_have_arrived
    return isinstance(error, (DecodeError, ServerError))
