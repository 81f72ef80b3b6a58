"""The API's envelope: what a good answer and each bad one look like."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from aiohttp import web
from attrs import field, frozen

from vocalsep_async.emulator.settings import Settings

_JSON = "application/json;charset=UTF-8"


@frozen
class Answer:
    """One answer in the API's form.

    Attributes:
        body: the envelope.
        http_status: 200 for nearly all, errors too.
        refused: whether it tells of too many requests.
        headers: beyond the usual ones.
    """

    body: dict[str, Any]
    http_status: int = 200
    throttled: bool = False
    headers: dict[str, str] = field(factory=dict)

    @property
    def code(self) -> int:
        """The code in the envelope."""
        return int(self.body["code"])

    @property
    def text(self) -> str:
        """The envelope as it is sent."""
        return json.dumps(self.body)

    def response(self) -> web.Response:
        """Return it as aiohttp sends it."""
        return raw_response(self.text, status=self.http_status, headers=self.headers)


def raw_response(
    text: str,
    *,
    content_type: str = _JSON,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> web.Response:
    """Return *text* as an answer that claims to be JSON, unless another type is given."""
    given = {"Content-Type": content_type, **(headers or {})}
    return web.Response(body=text.encode(), status=status, headers=given)


def success(data: object) -> Answer:
    """All went well."""
    return Answer({"code": 200, "msg": "success", "data": data})


def failure(code: int, message: str) -> Answer:
    """Something did not."""
    return Answer({"code": code, "msg": message, "data": None})


def bad_request(settings: Settings, message: str) -> Answer:
    """The parameters are refused."""
    return failure(settings.profile.bad_request, message)


def no_credits(settings: Settings) -> Answer:
    """The account is empty."""
    return failure(settings.profile.no_credits, "The credits are insufficient, please top up.")


def unauthorized() -> Answer:
    """The key is missing or wrong; the one answer without a ``data``."""
    return Answer({"code": 401, "msg": "Unauthorized: the API key was not accepted."})


def not_found() -> Answer:
    """There is no such path, or not with this method."""
    return failure(404, "No such path or method.")


def maintenance() -> Answer:
    """The service is closed for a while."""
    return failure(455, "The system is under maintenance.")


def server_error() -> Answer:
    """The service broke."""
    return failure(500, "Server error, please try again later.")


def refusal(settings: Settings) -> Answer:
    """There were too many requests."""
    code = settings.throttling_code
    body = {"code": code, "msg": "The call frequency is too high, slow down.", "data": None}
    seconds = settings.retry_after
    headers = {} if seconds is None else {"Retry-After": _plain(seconds)}
    status = code if settings.throttle_in == "status" else 200
    return Answer(body, http_status=status, throttled=True, headers=headers)


def _plain(seconds: float) -> str:
    """Return *seconds* in digits: HTTP knows no exponents."""
    digits = f"{Decimal(repr(abs(float(seconds)))):f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits
