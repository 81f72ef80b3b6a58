"""The errors of this package, a tree with one root.

.. code-block:: text

    VocalSepError
     ├─ ConfigurationError           a client cannot be set up or used like that (also ValueError)
     ├─ InvalidArgumentError         a wrong argument of a call or a value (also ValueError)
     ├─ ClientClosedError            the client was closed, before the call or during it
     ├─ TransportError               no usable answer: no connection, cut, redirected, too large
     │   └─ RequestTimeoutError      no complete answer within a timeout (also TimeoutError)
     ├─ DecodeError                  an answer, but not one of this API
     ├─ APIError                     the API returned an error
     │   ├─ InvalidParametersError
     │   ├─ AuthenticationError
     │   ├─ NotFoundError
     │   ├─ PayloadTooLargeError
     │   ├─ InsufficientCreditsError
     │   ├─ RateLimitedError
     │   ├─ MaintenanceError
     │   ├─ ServerError
     │   └─ TaskNotFoundError
     ├─ CreationUncertainError       a task that may have been created, and its id is not known
     ├─ NotBegunError                a song that was neither uploaded nor created
     ├─ TaskFailedError              the task ended without stems
     ├─ TaskTimeoutError             the wait ran out of time (also TimeoutError)
     ├─ UploadError                  a file could not be read, or changed while it was sent
     ├─ DownloadError                a stem could not be fetched, or not be saved
     ├─ JournalError                 a journal cannot be used, or not be written
     └─ WebhookError                 what was posted to a callback URL is not accepted
         ├─ MalformedCallbackError   it is not a callback of this API
         ├─ CallbackTooLargeError
         ├─ UnsignedCallbackError    it has no signature, or its address no token
         ├─ ForgedCallbackError      its signature or token was made with none of your secrets
         └─ StaleCallbackError       it was signed too long ago, or in the future

Every error survives ``pickle`` and ``copy`` with all its attributes, so it can travel between
processes; none of them ever holds the API key.
"""

from __future__ import annotations

import copyreg
import enum
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any


class ErrorAction(enum.Enum):
    """What the waiting calls do about an error."""

    RAISE = "raise"
    """No repetition changes anything: the error is raised."""
    RETRY = "retry"
    """The request is sent again soon: the next answer may be better."""
    MAINTENANCE = "maintenance"
    """The service is closed for now: the whole client pauses for half a minute or more."""
    THROTTLE = "throttle"
    """Too many requests on the account: the whole client pauses, then continues more slowly."""


class VocalSepError(Exception):
    """The root: ``except VocalSepError`` catches all that this package raises on purpose."""

    args: tuple[Any, ...]
    action: ErrorAction = ErrorAction.RAISE
    """What the waiting calls do about it; see `ErrorAction`."""

    def __reduce__(self) -> tuple[Any, ...]:
        state = self.__dict__.copy()
        if "__notes__" in state:
            # A copy and its original add notes of their own.
            state["__notes__"] = list(state["__notes__"])
        # Not the class itself: most constructors take more than the message. Nor a function of
        # ours, whose name would be in every pickle.
        make = copyreg.__newobj__  # type: ignore[attr-defined]
        return make, (type(self), *self.args), (self.args, state)

    def __setstate__(self, state: Any) -> None:
        # OSError.__new__ (TimeoutError is one) leaves args empty where __init__ is overridden.
        self.args, attributes = state
        self.__dict__.update(attributes)


class ConfigurationError(VocalSepError, ValueError):
    """A client cannot be set up, or not be used like that; nothing was sent.

    Raised for a missing key, for an unusable argument of a constructor, and for objects used in
    the wrong event loop, thread or block.
    """


class InvalidArgumentError(VocalSepError, ValueError):
    """A wrong argument of a call or of a value, such as an id; nothing was sent."""


class ClientClosedError(VocalSepError):
    """The client was closed, before the call or while it was under way.

    Attributes:
        may_have_arrived: whether a request was under way that the server may have seen.
    """

    def __init__(self, message: str, *, may_have_arrived: bool = False) -> None:
        super().__init__(message)
        self.may_have_arrived = may_have_arrived


class TransportError(VocalSepError):
    """No usable answer came back.

    Attributes:
        may_have_arrived: False where no connection was made, so that the server cannot have
            seen the request; True where that is not known. It decides whether a billed call may
            be repeated.
    """

    action: ErrorAction = ErrorAction.RETRY

    def __init__(
        self,
        message: str,
        *,
        may_have_arrived: bool = True,
        action: ErrorAction = ErrorAction.RETRY,
    ) -> None:
        super().__init__(message)
        self.may_have_arrived = may_have_arrived
        self.action = action


class RequestTimeoutError(TransportError, TimeoutError):
    """One request took longer than ``request_timeout``, or a call longer than its *timeout*.

    Also a builtin `TimeoutError`. After the *timeout* of `get_task` or `get_credits` the message
    says what kept the call: no slot of the rate limit, a pause, or no answer to its request.

    Attributes:
        last_error: what began the pause that kept the call from sending its request, or else the
            error of its last request that failed; None without either.
    """

    last_error: VocalSepError | None = None

    def __init__(
        self,
        message: str,
        *,
        may_have_arrived: bool = True,
        action: ErrorAction = ErrorAction.RETRY,
        last_error: VocalSepError | None = None,
    ) -> None:
        super().__init__(message, may_have_arrived=may_have_arrived, action=action)
        self.last_error = last_error


class DecodeError(VocalSepError):
    """An answer arrived, but not one that this API gives (HTML, cut JSON, another task's record).

    Attributes:
        http_status: the HTTP status it came with; None for a callback.
        in_envelope: whether it was JSON with a code, as this API wraps its answers, and only what
            was inside could not be read.
        response_headers: as in an `APIError`.
    """

    action: ErrorAction = ErrorAction.RETRY
    response_headers: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self, message: str, *, http_status: int | None = None, in_envelope: bool = False
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.in_envelope = in_envelope


class APIError(VocalSepError):
    """The API returned an error.

    Attributes:
        code: the code that counted: the one in the body or, without one, the HTTP status.
        message: the API's own words, made printable and cut; empty if it gave none.
        http_status: the HTTP status of the answer, often 200.
        task_id: the task that was asked about; None for calls without one.
        retry_after: seconds the server asked us to wait, within sane bounds; None if it did not.
        in_envelope: whether the answer was one of this API: JSON with a code. Without, *code* is
            the HTTP status, which something between the client and the API may have given.
        response_headers: headers of the answer by which it is found in logs, with names in small
            letters: "date", "retry-after", and ids of the request such as "cf-ray" and
            "x-request-id". Those that it had; none if it was no answer to a request.
    """

    hint = ""
    response_headers: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self,
        message: str,
        *,
        code: int,
        http_status: int,
        task_id: str | None = None,
        retry_after: float | None = None,
        action: ErrorAction = ErrorAction.RAISE,
        hint: str = "",
        in_envelope: bool = True,
    ) -> None:
        # The summary gets a full stop of its own.
        summary = self._summary(message.rstrip(". "), code, task_id)
        super().__init__(f"{summary}. {hint or self.hint}".rstrip())
        self.code = code
        self.message = message
        self.http_status = http_status
        self.task_id = task_id
        self.retry_after = retry_after
        self.action = action
        self.in_envelope = in_envelope

    def _summary(self, message: str, code: int, task_id: str | None) -> str:
        about = "" if task_id is None else f" (task {task_id!r})"
        return f"code {code}: {message or 'no message'}{about}"


class InvalidParametersError(APIError):
    """The API does not accept the parameters: 400, 422."""

    hint = "The parameters were not accepted; no repetition would help."


class AuthenticationError(APIError):
    """The key was not accepted: 401."""

    hint = "Check the API key, and whether the account accepts requests from this IP address."


class NotFoundError(APIError):
    """There is no such address: 404. An unknown task is a `TaskNotFoundError` instead."""

    hint = "Check base_url."


class PayloadTooLargeError(APIError):
    """What was sent is too large: 413."""


class InsufficientCreditsError(APIError):
    """The account is empty: 429 on sunoapi.org, 402 and 433 on kie.ai, or by its message."""

    hint = "Top up the account."


class RateLimitedError(APIError):
    """Too many requests on the account: 405 and 430 on sunoapi.org, 429 on kie.ai.

    Without an envelope it is 405, 429 or 430 everywhere. It reaches you only after the tries of the
    client's `RetryPolicy` were used up. A wait gets it where the client never got an answer of the
    API and the last one was a 405 without an envelope: then the address is probably wrong.
    """

    hint = "Too many requests on this account; is something else using the key?"


class MaintenanceError(APIError):
    """The service is closed for maintenance: 455."""

    hint = "The service is under maintenance; try again in some minutes."


class ServerError(APIError):
    """The server failed: 500 and its relatives.

    It reaches you after the tries of the client's `RetryPolicy` were used up; 501, 505 and 531,
    which no repetition changes, immediately.
    """


class TaskNotFoundError(APIError):
    """The API does not know the task, even after the short grace of a new one."""

    hint = "Check the task id and that the key belongs to the account that created it."

    def _summary(self, message: str, code: int, task_id: str | None) -> str:
        # With code 200 the answer is a success that holds no record.
        reason = "" if code == 200 else f" (code {code}: {message or 'no message'})"
        return f"task not found: {task_id!r}{reason}"


class CreationUncertainError(VocalSepError):
    """The task of a song may have been created and billed, but its id is not known.

    It is not created again unless ``on_uncertain="create"`` says so: look for the task in the
    provider's own list first.

    Attributes:
        label: the song; None if it has no name.
        began_at: when the creation began, as an aware UTC datetime.
        reason: why its fate is not known; None if the program ended before the answer.
    """

    def __init__(
        self, message: str, *, label: str | None, began_at: datetime, reason: str | None
    ) -> None:
        super().__init__(message)
        self.label = label
        self.began_at = began_at
        self.reason = reason

    @classmethod
    def of(
        cls, label: str | None, began_at: datetime, reason: str | None
    ) -> CreationUncertainError:
        """Return the error of a creation with the usual words."""
        song = "the song" if label is None else f"{label!r:.80}"
        why = reason or "the program ended before the answer"
        return cls(
            f"the task of {song} may have been created and billed at "
            f"{began_at.isoformat(' ', 'seconds')}, but its id is not known: {why.rstrip('.')}. "
            "Look for it in the provider's list of tasks; it is created again, and billed again, "
            'only with on_uncertain="create"',
            label=label,
            began_at=began_at,
            reason=reason,
        )


class NotBegunError(VocalSepError):
    """A song that was neither uploaded nor created, because its run creates no more tasks.

    Nothing was billed for it; a later run with the same journal continues there.

    Attributes:
        cause: the error that ended the creations, such as an `InsufficientCreditsError`; None if
            *max_credits* did.
    """

    def __init__(self, message: str, *, cause: VocalSepError | None = None) -> None:
        super().__init__(message)
        self.cause = cause


class TaskFailedError(VocalSepError):
    """The task ended without stems, or as a success whose links have not come.

    Attributes:
        task: the final record.
    """

    def __init__(self, message: str, task: models.SeparationTask) -> None:
        super().__init__(message)
        self.task = task


class TaskTimeoutError(VocalSepError, TimeoutError):
    """The wait ran out of time; the task itself continues at the provider.

    Also a builtin `TimeoutError`. Wait again with the same id to continue.

    Attributes:
        task_id: the task that was waited for.
        task: the last record seen; None if no poll succeeded. A batch keeps it only where it tells
            of an error.
        polls: polls made by this wait or shared with it.
        last_error: the error of the last poll, or what began a pause of the client; a
            `RequestTimeoutError` if a poll was without an answer at the end; None if the last poll
            succeeded.
    """

    def __init__(
        self,
        message: str,
        *,
        task_id: str,
        task: models.SeparationTask | None,
        polls: int,
        last_error: VocalSepError | None,
    ) -> None:
        super().__init__(message)
        self.task_id = task_id
        self.task = task
        self.polls = polls
        self.last_error = last_error


class UploadError(VocalSepError):
    """A file that was to be uploaded could not be read to its end, or changed while it was sent.

    No link to it is returned, so nothing is billed for it. A file that cannot be opened, or is no
    file, is an `InvalidArgumentError`; what the upload host answers is an `APIError`.
    """


class DownloadError(VocalSepError):
    """A stem could not be fetched, or not be saved.

    What stood at the path before stands there still. What has arrived is kept, hidden beside the
    path, and the next try goes on from there; unless the disk failed, or what came is no
    audio or too large: then it is removed. ``__cause__`` is what went wrong.

    Attributes:
        task_id: the task.
        stem: the stem's name.
        path: where it was to be saved; None if it was to be read only.
        url: host and last part of the path of its link; None if it has none.
        report: what became of all stems of the call; None if this was the only one.
    """

    def __init__(
        self,
        message: str,
        *,
        task_id: str,
        stem: str,
        path: str | None = None,
        url: str | None = None,
    ) -> None:
        super().__init__(message)
        self.task_id = task_id
        self.stem = stem
        self.path = path
        self.url = url
        self.report: models.DownloadReport | None = None


class JournalError(VocalSepError):
    """A journal is in use, damaged, of another account or a newer version, or not writable.

    A batch whose journal cannot be written any more ends with it: an outcome that was handed out
    and not written down would be forgotten by the next run.
    """


class WebhookError(VocalSepError):
    """What was posted to a callback URL is not accepted: the root of the errors of webhooks.

    None of them holds a key, a secret, or anything of the body but a task id.
    """


class MalformedCallbackError(WebhookError):
    """It is not a callback of this API: answer it with HTTP 400."""


class CallbackTooLargeError(WebhookError):
    """It is larger than any callback: answer it with HTTP 413."""


class UnsignedCallbackError(WebhookError):
    """It has no signature or, with `CallbackUrl`, no token in its address: HTTP 401."""


class ForgedCallbackError(WebhookError):
    """Its signature, or the token in its address, was made with none of your secrets: HTTP 401."""


class StaleCallbackError(WebhookError):
    """It is signed, but with a time that is not near enough to this machine's: HTTP 401.

    It may be a replay, a repeated delivery that is late, or the sign of a wrong clock.

    Attributes:
        skew: seconds from the time of the signature to that of this machine: positive for a
            callback that was signed in the past, negative for one of the future.
    """

    def __init__(self, message: str, *, skew: float) -> None:
        super().__init__(message)
        self.skew = skew


# At the end: models derive from nothing here but raise these errors, so they import this module.
# Annotations name them as ``models.X``, which resolves whichever of the two is imported first.
from vocalsep_async import models  # noqa: E402
