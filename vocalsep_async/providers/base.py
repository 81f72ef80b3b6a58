"""What a provider is: its codes, each with an error class and an action, and its addresses.

The same number means opposite things to different providers (429 is "no credits" to one and
"too many requests" to the other), so all decisions about a code are made here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import field, frozen

from vocalsep_async import errors
from vocalsep_async.errors import APIError, ErrorAction


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

# Patterns are compiled where they are first needed: most programs never meet these errors.
_MONEY = r"\b(?:credits?|balance|funds?|quota)\b"
_CREDITS_WORDS = (
    rf"{_MONEY}.{{0,20}}\b(?:insufficient|not enough|isn't enough|too low|exhausted)\b"
    rf"|\b(?:insufficient|not enough|low|no)\b.{{0,20}}{_MONEY}"
    r"|\btop[ -]?up\b|usage exceed"
)
_THROTTLING_WORDS = r"frequen|too many|rate limit"
_MISSING_RECORD_WORDS = r"\bnull\b|not exist"


@frozen(kw_only=True)
class Provider:
    """How one provider of the API differs from the others.

    Pass your own as ``VocalSepClient(provider=...)`` for another reseller of the same API.

    Attributes:
        name: its name in messages.
        codes: from code to `ErrorRule`. Codes that are not listed: 5xx is retried as a
            `ServerError`, anything else is raised as an `APIError`.
        credits_path: path of the request for the account's remaining credits.
        hosts: the hosts that belong to it; only those of the built-in providers are searched.
    """

    name: str
    codes: Mapping[int, ErrorRule] = field(repr=False, hash=False)
    credits_path: str
    hosts: frozenset[str] = frozenset()

    def classify(self, code: int, message: str, *, in_envelope: bool) -> ErrorRule:
        """Classify *code* with *message*.

        Args:
            code: the code that counts: the one of the body or, without one, the HTTP status.
            message: the API's words; "" if there are none.
            in_envelope: whether the answer was one of this API (JSON with a code). A bare HTTP
                status comes from something in between or from a wrong address.
        """
        if not in_envelope:
            return _BARE_STATUS.get(code) or self._by_code(code)
        # Before all codes: without credits, a pause or a retry would repeat itself until the
        # deadline.
        if _says(_CREDITS_WORDS, message):
            return NO_CREDITS
        rule = self._by_code(code)
        if _says(_THROTTLING_WORDS, message) and _may_be_throttling(rule):
            return THROTTLED
        return rule

    def _by_code(self, code: int) -> ErrorRule:
        return self.codes.get(code) or (_SERVER_FAILED if 500 <= code <= 599 else _OTHER)


def _may_be_throttling(rule: ErrorRule) -> bool:
    # Only where the code itself leaves room for doubt. 429 does: it means no credits to one
    # provider, and throttling to most of the web.
    return rule in (NO_CREDITS, _SERVER_FAILED, _OTHER)


def _says(words: str, message: str) -> bool:
    return re.search(words, message, re.IGNORECASE) is not None


def says_no_such_record(code: int, message: str) -> bool:
    """Whether a validation error is this API's other way to say "unknown task"."""
    return code == 422 and _says(_MISSING_RECORD_WORDS, message)


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
