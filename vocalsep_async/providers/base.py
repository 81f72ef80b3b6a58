"""What a provider is: the requests to its API, and what the answers mean. No I/O.

The same number means opposite things to different providers (429 is "no credits" to one and
"too many requests" to the other), so all decisions about a code are made here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from attrs import field, fields, frozen

from vocalsep_async import errors
from vocalsep_async.errors import APIError, ErrorAction
from vocalsep_async.models import SeparationType, TaskStatus
from vocalsep_async.providers._records import USUAL_STATUSES
from vocalsep_async.providers._spellings import usual_record


@frozen
class Price:
    """What one creation costs, as the provider's documents say.

    Attributes:
        credits: credits for one task.
        read_on: the day on which it was read.
        source: where it was read.
    """

    credits: float
    read_on: date
    source: str


NO_CALLBACK_URL = "https://callback.invalid/"
"""What a creation without a callback URL names, where the provider demands one.

No domain can ever have this name: ``.invalid`` is reserved by RFC 2606. That the live services take
it was never tried.
"""


@frozen
class ErrorRule:
    """What one code means.

    Attributes:
        error: the class that is raised.
        action: what the waiting calls do about it.
        hint: what the user can do; "" takes the sentence of the error class.
    """

    error: type[APIError]
    action: ErrorAction = field(default=ErrorAction.RAISE, kw_only=True)
    hint: str = field(default="", kw_only=True)


_INVALID = ErrorRule(errors.InvalidParametersError)
NO_CREDITS = ErrorRule(errors.InsufficientCreditsError)
"""The account is empty."""
THROTTLED = ErrorRule(errors.RateLimitedError, action=ErrorAction.THROTTLE)
"""Too many requests: the whole client pauses."""
_SERVER_FAILED = ErrorRule(errors.ServerError, action=ErrorAction.RETRY)
_OTHER = ErrorRule(APIError)
_NONE: Mapping[int, ErrorRule] = {}
_NO_PRICES: Mapping[SeparationType, Price] = {}

COMMON_CODES: Mapping[int, ErrorRule] = {
    400: _INVALID,
    401: ErrorRule(errors.AuthenticationError),
    404: ErrorRule(errors.NotFoundError),
    408: ErrorRule(APIError, action=ErrorAction.RETRY),
    413: ErrorRule(errors.PayloadTooLargeError),
    422: _INVALID,
    430: THROTTLED,
    455: ErrorRule(errors.MaintenanceError, action=ErrorAction.MAINTENANCE),
    500: _SERVER_FAILED,
    501: ErrorRule(errors.ServerError),
    505: ErrorRule(errors.ServerError),
    531: ErrorRule(errors.ServerError),
}
"""Codes that mean the same to all known providers."""

# Patterns are compiled where they are first needed: most programs never get these errors.
_MONEY = r"\b(?:credits?|balance|funds?|quota)\b"
_CREDITS_WORDS = (
    rf"{_MONEY}.{{0,20}}\b(?:insufficient|not enough|isn't enough|too low|exhausted)\b"
    rf"|\b(?:insufficient|not enough|low|no)\b.{{0,20}}{_MONEY}"
    r"|\btop[ -]?up\b|usage exceed"
)
_THROTTLING_WORDS = r"frequen|too many|rate limit"
_MISSING_RECORD_WORDS = r"\bnull\b|not exist"
# Not the words of a path, such as /api/v1/jobs/recordInfo: that would be a wrong address.
_TASK_NOT_FOUND_WORDS = (
    r"(?<![/\w-])(?:task|job|record)(?:[ _]?(?:id|info))?\b[^/]{0,80}"
    r"(?:not\b[^/]{0,10}\b(?:found|exist)|\bnull\b)"
    r"|\b(?:no such|unknown) (?:task|job|record)\b"
)


class Request(NamedTuple):
    """One request, without the key and the host.

    Attributes:
        method: GET, or POST for billed requests.
        path: the path at the API, beginning with a slash.
        query: names and values; any character arrives unchanged.
        json: the body; None for none.
        headers: headers beside those of every request. The key is no part of a request: it is
            added as ``Authorization: Bearer`` when the request is sent.
    """

    method: Literal["GET", "POST"]
    path: str
    query: Mapping[str, str] = MappingProxyType({})
    json: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = MappingProxyType({})


@frozen(kw_only=True, slots=False)
class Provider:
    """How one provider of the API differs from the others.

    Pass your own as ``VocalSepClient(provider=...)`` for another reseller of the same API: an
    instance where its paths, codes or words for statuses differ, an instance of a subclass where
    its bodies or records do. Methods get values and return values; none of them waits for anything.

    Attributes:
        name: its name in messages.
        codes: from code to `ErrorRule`. Codes that are not listed: 5xx is retried as a
            `ServerError`, anything else is raised as an `APIError`.
        creation_codes: codes that mean something else in the answer to a creation.
        statuses: from each word for a status to the `TaskStatus` that it means: PENDING, or
            one that is final. A word that is not listed is kept, with a warning, and whether the
            task has ended is seen from the rest of its record (see `SeparationTask.is_final`).
        poll_path: path of the request for a task's record.
        creation_path: path of the request that creates a task.
        credits_path: path of the request for the account's remaining credits.
        hosts: the hosts that belong to it, with all of their domains; only those of the built-in
            providers are searched.
        prices: what the creation of each type costs; a type that is not listed has no known price.
    """

    name: str
    codes: Mapping[int, ErrorRule] = field(repr=False, hash=False)
    credits_path: str
    hosts: frozenset[str] = frozenset()
    creation_codes: Mapping[int, ErrorRule] = field(default=_NONE, repr=False, hash=False)
    statuses: Mapping[str, TaskStatus] = field(default=USUAL_STATUSES, repr=False, hash=False)
    poll_path: str = "/api/v1/vocal-removal/record-info"
    creation_path: str = "/api/v1/vocal-removal/generate"
    prices: Mapping[SeparationType, Price] = field(default=_NO_PRICES, repr=False, eq=False)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A pickle of an earlier version lacks the attributes that were added since.
        defaults = {each.name: each.default for each in fields(type(self))}
        self.__dict__.update(defaults | state)

    # Requests

    def poll_request(self, task_id: str) -> Request:
        """The request for the record of a task."""
        return Request("GET", self.poll_path, query={"taskId": task_id})

    def creation_request(
        self,
        *,
        type: SeparationType | None,  # noqa: A002 - the API's word
        callback_url: str | None,
        source_task_id: str | None = None,
        audio_id: str | None = None,
        audio_url: str | None = None,
        stem_name: str | None = None,
    ) -> Request:
        """The request that creates a task; the arguments are those of `create_task`.

        A *type* of None leaves it to the provider. Without a *callback_url*, `NO_CALLBACK_URL`
        takes its place, because the API demands one.

        Raises:
            InvalidArgumentError: the provider takes no such task.
        """
        body = {
            "taskId": source_task_id,
            "audioId": audio_id,
            "audioUrl": audio_url,
            "type": type,
            "callBackUrl": NO_CALLBACK_URL if callback_url is None else callback_url,
            "stemName": stem_name,
        }
        given = {name: value for name, value in body.items() if value is not None}
        return Request("POST", self.creation_path, json=given)

    def credits_request(self) -> Request:
        """The request for the account's remaining credits."""
        return Request("GET", self.credits_path)

    # What codes mean

    def classify(
        self, code: int, message: str, *, in_envelope: bool, is_creation: bool = False
    ) -> ErrorRule:
        """Classify *code* with *message*.

        Args:
            code: the code that counts: the one of the body or, without one, the HTTP status.
            message: the API's words; "" if there are none. Also "" for what the code of a creation
                means alone: that decides whether the request is sent again.
            in_envelope: whether the answer was one of this API (JSON with a code). A bare HTTP
                status comes from something in between or from a wrong address.
            is_creation: whether the request was to create a task.
        """
        if not in_envelope:
            return _BARE_STATUS.get(code) or self._by_code(code)
        # Before all codes: without credits, a pause or a retry would repeat itself until the
        # deadline.
        if _says(_CREDITS_WORDS, message):
            return NO_CREDITS
        rule = (self.creation_codes.get(code) if is_creation else None) or self._by_code(code)
        if _says(_THROTTLING_WORDS, message) and _may_be_throttling(rule):
            return THROTTLED
        return rule

    def _by_code(self, code: int) -> ErrorRule:
        return self.codes.get(code) or (_SERVER_FAILED if 500 <= code <= 599 else _OTHER)

    def is_unknown_task(self, code: int, message: str) -> bool:
        """Whether an error means that the API knows no such task, or does not know it yet.

        A success without a record means that, too, and is recognised without this method. Only
        answers in an envelope are asked about.
        """
        if code == 404:
            return _says(_TASK_NOT_FOUND_WORDS, message)
        return code == 422 and _says(_MISSING_RECORD_WORDS, message)

    # Spellings

    def read_record(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """The record of a task in the usual spelling, that of sunoapi.org's answers.

        A subclass translates what is spelt otherwise, and may leave the rest to this method, which
        knows camelCase, snake_case and the names that the known providers use. The usual keys:
        ``taskId``, ``successFlag`` (a key of `statuses`, or a `TaskStatus`), ``response``,
        ``createTime`` and ``completeTime`` (milliseconds since 1970), ``errorCode``,
        ``errorMessage``, ``type``, ``musicId``, ``musicIndex``, ``audioId``, ``callbackUrl``. In
        the response each stem has its link as ``vocalUrl``, ``backingVocalsUrl`` and so on, and
        ``originData`` is the list of tracks. What is missing may be null or left out.
        `SeparationTask.raw` keeps the record as it came.
        """
        return usual_record(record)

    def read_task_id(self, data: Mapping[str, Any]) -> Any:
        """The id in the answer to a creation; None if there is none.

        Errors are read, too: an answer that holds an id is a creation, whatever its code.
        """
        return data.get("taskId") or data.get("task_id")

    def read_credits(self, data: Any) -> Any:
        """The number of credits in the answer of that request."""
        return data

    def read_callback(
        self, record: Mapping[str, Any], *, code: int, message: str
    ) -> Mapping[str, Any]:
        """The record in a callback in the usual spelling, with its status.

        Args:
            record: the callback's data; empty for a failure without data.
            code: the callback's code, which decides here, whatever status the record brings: 200
                is a SUCCESS, any other code from 100 to 299, such as 202, is PENDING, and all
                others are GENERATE_AUDIO_FAILED.
            message: the API's words; "" if there are none.
        """
        usual = self.read_record(record)
        if code == 200:
            return {**usual, "successFlag": TaskStatus.SUCCESS}
        if 100 <= code <= 299:
            return {**usual, "successFlag": TaskStatus.PENDING}
        return {
            **usual,
            "successFlag": TaskStatus.GENERATE_AUDIO_FAILED,
            "errorCode": code if (own := usual.get("errorCode")) is None else own,
            "errorMessage": message if (own := usual.get("errorMessage")) is None else own,
        }


def _may_be_throttling(rule: ErrorRule) -> bool:
    # Only where the code itself leaves room for doubt. 429 does: it means no credits to one
    # provider, and throttling to most of the web.
    return rule in (NO_CREDITS, _SERVER_FAILED, _OTHER)


def _says(words: str, message: str) -> bool:
    return re.search(words, message, re.IGNORECASE) is not None


# Without an envelope a status is HTTP's own, whatever the provider means by the same number. But
# for 405: the provider throttles with it, and a gateway may strip the envelope off.
_BARE_STATUS: Mapping[int, ErrorRule] = {
    403: ErrorRule(
        APIError,
        hint="Something in front of the API rejects the client; try another user_agent.",
    ),
    404: ErrorRule(errors.NotFoundError),
    405: ErrorRule(
        errors.RateLimitedError,
        action=ErrorAction.THROTTLE,
        hint=(
            "Too many requests on this account; or, if no call ever worked, "
            "check base_url: the address does not take this method."
        ),
    ),
    429: THROTTLED,
}
