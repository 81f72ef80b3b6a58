"""The responses of the API: one envelope for success and for each error."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from aiohttp import web
from attrs import field, frozen

from vocalsep_async.emulator.settings import EmulatorSettings

JSON = "application/json;charset=UTF-8"
"""The type of every answer of the API."""
compact: Callable[[Any], str] = json.JSONEncoder(separators=(",", ":")).encode
"""Writes JSON as the services do, without a blank."""


@frozen
class ApiResponse:
    """One response in the API's form.

    Attributes:
        body: the envelope: code, message and data.
        http_status: 200 for nearly all responses, errors included.
        throttled: whether the response means "too many requests".
        headers: HTTP headers besides its type.
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
        return compact(self.body)


def raw_response(text: str, *, content_type: str = JSON) -> web.Response:
    """Return *text* as a response of something in between, labelled as JSON unless it is not."""
    return web.Response(body=text.encode(), headers={"Content-Type": content_type})


def success(data: object) -> ApiResponse:
    """Return *data* under code 200."""
    return ApiResponse({"code": 200, "msg": "success", "data": data})


def failure(code: int, message: str) -> ApiResponse:
    """Return an error without data."""
    return ApiResponse({"code": code, "msg": message, "data": None})


def bad_request(settings: EmulatorSettings, message: str) -> ApiResponse:
    """Return the error for invalid parameters."""
    return failure(settings.profile.bad_request, message)


def bad_job(message: str) -> ApiResponse:
    """Return the error of the jobs route for invalid parameters of a creation."""
    return failure(500, message)


def unknown_song(settings: EmulatorSettings) -> ApiResponse:
    """Return the error for a creation that names a song of the provider's that does not exist."""
    return bad_request(settings, "Record does not exist")


def unknown_job() -> ApiResponse:
    """Return the error of the jobs route for an unknown task."""
    return failure(422, "recordInfo is null")


def no_credits(settings: EmulatorSettings) -> ApiResponse:
    """Return the error for an account without enough credits."""
    return failure(settings.profile.no_credits, "The credits are insufficient, please top up.")


def unauthorized() -> ApiResponse:
    """Return the error for a missing or wrong key."""
    # The only response of the API without "data".
    return ApiResponse({"code": 401, "msg": "Unauthorized: the API key was not accepted."})


def not_found() -> ApiResponse:
    """Return the error for an unknown path, or a method that it does not allow."""
    return failure(404, "No such path or method.")


def too_large() -> ApiResponse:
    """Return the error for a creation whose body is too large to be read."""
    return failure(413, "The request body is too large.")


def maintenance() -> ApiResponse:
    """Return the error for a service under maintenance."""
    return failure(455, "The system is under maintenance.")


def server_error() -> ApiResponse:
    """Return the error for a failure of the service."""
    return failure(500, "Server error, please try again later.")


def throttled(settings: EmulatorSettings) -> ApiResponse:
    """Return "too many requests" with the code and in the place that *settings* name."""
    code = settings.effective_throttle_code
    body = {"code": code, "msg": "The call frequency is too high, slow down.", "data": None}
    seconds = settings.retry_after
    headers = {} if seconds is None else {"Retry-After": _decimal(seconds)}
    status = code if settings.throttle_in == "status" else 200
    return ApiResponse(body, http_status=status, throttled=True, headers=headers)


def _decimal(seconds: float) -> str:
    # Without an exponent, which HTTP does not allow here.
    digits = f"{Decimal(repr(abs(float(seconds)))):f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits
