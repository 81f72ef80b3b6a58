"""Answers of other servers: proxies, gateways, portals, other APIs, in every dress."""

from __future__ import annotations

import json
from typing import Any

from fakes import Answer, bare, envelope, finished
from payloads import BROKEN_BODIES

from vocalsep_async import ErrorAction, TransportError
from vocalsep_async._transport.api import Reply

PAGE = b"<html><h1>Please log in</h1></html>"
_OTHER_JSON: dict[str, Any] = {
    "an error": {"error": "unauthorized"},
    "an error object": {"error": {"code": 403, "message": "denied"}},
    "a detail": {"detail": "Not Found"},
    "a message": {"message": "Forbidden"},
    "a status": {"timestamp": 1_700_000_000, "status": 404, "path": "/"},
    "a word as code": {"code": "x", "msg": "no"},
    "no code": {"code": None, "data": None},
    "a fraction as code": {"code": 200.0, "data": None},
    "a list": [{"code": 200}],
    "a number": 200,
    "a text": "ok",
    "null": None,
    "true": True,
    "an empty object": {},
}
_STATUSES = (400, 401, 402, 403, 404, 405, 406, 409, 410, 413, 418, 421, 422, 423, 425, 426, 428)
_RARE_STATUSES = (431, 433, 451, 495, 498, 499, 501, 505, 531)


def json_answer(status: int, content: Any) -> Reply:
    return Reply(status, {}, json.dumps(content).encode())


def _under(answer: Reply, status: int) -> Reply:
    return answer._replace(status=status)


def _foreign() -> dict[str, Answer]:
    answers: dict[str, Answer] = {}
    for status in (*_STATUSES, *_RARE_STATUSES):
        answers[f"a page under {status}"] = bare(status, PAGE)
    for status in (200, 201, 202, 203, 206, 226, 299):
        answers[f"a portal under {status}"] = bare(status, PAGE)
    for status in (200, 202, 204, 205, 401, 403, 404):
        answers[f"nothing under {status}"] = bare(status)
    for name, content in _OTHER_JSON.items():
        for status in (200, 401, 404):
            answers[f"{name} under {status}"] = json_answer(status, content)
    answers |= {f"{name} in place of JSON": bare(200, body) for name, body in BROKEN_BODIES.items()}
    # Such an answer had another status when the API gave it, if the API gave it at all.
    for status in (401, 402, 403, 404, 405, 422):
        answers[f"a record under {status}"] = _under(finished("a"), status)
        answers[f"a success without data under {status}"] = _under(envelope(200), status)
    for status in (301, 302, 304, 307):
        answers[f"a redirect {status}"] = TransportError(
            f"redirected ({status}), which is not followed; check base_url",
            action=ErrorAction.RAISE,
        )
    return answers


FOREIGN = _foreign()
"""What may come from a wrong address, or from something in between."""

PASSING: dict[str, Answer] = {
    **{f"a gateway under {status}": bare(status, PAGE) for status in (408, 429, 430)},
    **{
        f"a gateway under {status}": bare(status, PAGE) for status in (500, 502, 503, 504, 520, 599)
    },
    "a record under 502": _under(finished("a"), 502),
    "a success without data under 429": _under(envelope(200), 429),
    "a cut connection": TransportError("cut"),
    "a refused connection": TransportError("refused", may_have_arrived=False),
}
"""What passes by itself, also before the API was heard."""

MEANINGLESS: dict[str, Answer] = {
    "a code of gRPC": json_answer(404, {"code": 5, "message": "Not Found", "details": []}),
    "a code of a firewall": envelope(403, "blocked"),
    "a code of another API": envelope(1010, "denied"),
    "the code 0": envelope(0, "ok"),
    "the code 1": envelope(1, "error"),
    "a negative code": envelope(-1, "error"),
    "digits": json_answer(200, {"code": "418", "msg": "teapot"}),
}
"""Envelopes with a code that the provider does not list, perhaps of something in between."""
