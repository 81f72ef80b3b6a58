"""The upload hosts: which API has which one, the request, and what its answers mean.

An upload host is not part of a provider: it belongs to the host of an API, whose key it takes. So
it is known for the providers' own hosts only, and not for what speaks their language elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from vocalsep_async._text import printable, without_queries
from vocalsep_async.errors import APIError, DecodeError
from vocalsep_async.providers._envelope import (
    Envelope,
    code_of,
    message_of,
    open_envelope,
    parse_json,
    retry_after,
)
from vocalsep_async.providers.base import ErrorRule, Provider

UPLOAD_HOSTS: Mapping[str, str] = {
    "api.sunoapi.org": "https://sunoapiorg.redpandaai.co",
    "api.kie.ai": "https://kieai.redpandaai.co",
}
"""From the host of an API to its upload host, by their documentation of November 2026."""
UPLOAD_PATH = "/api/file-stream-upload"
_ADVICE = "if no upload ever worked, check upload_url"
_LINK = re.compile(r"https?:\S+", re.IGNORECASE)
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}", re.ASCII)


@frozen(repr=False)
class StoredFile:
    """What an upload host says of a file that it has stored.

    Attributes:
        url: the link to it.
        content_type: its media type; None if it does not say.
        expires_at: when it is deleted; None if it does not say.
    """

    url: str
    content_type: str | None
    expires_at: datetime | None


def upload_url_for(host: str) -> str | None:
    """The upload host of the API at *host*; None if it is not known."""
    return UPLOAD_HOSTS.get(host.lower().rstrip("."))


def stored_file(
    provider: Provider, status: int, headers: Mapping[str, str], body: bytes, name: str
) -> StoredFile:
    """Read the answer of an upload host.

    Args:
        provider: knows what the codes mean.
        status: the HTTP status.
        headers: of the answer.
        body: of the answer.
        name: of the file at the host, which must not show in messages.

    Raises:
        APIError: the host did not store the file, whatever the HTTP status.
        DecodeError: the answer holds no link to it.
    """
    envelope, is_success = _opened(status, body)
    if not is_success:
        raise _error(provider, envelope, status, headers, name)
    data = envelope.data if isinstance(envelope.data, dict) else {}
    link = next(filter(_is_link, (data.get("downloadUrl"), data.get("fileUrl"))), None)
    if link is None:
        raise DecodeError(
            "the answer of the upload host holds no http(s) link to the file",
            http_status=status,
            in_envelope=True,
        )
    return StoredFile(link, _media_type(data.get("mimeType")), _time(data.get("expiresAt")))


def _opened(status: int, body: bytes) -> tuple[Envelope, bool]:
    """The envelope of an answer, and whether it says that the file was stored."""
    content = _json_of(body)
    says = content.get("success")
    # Failures come as HTTP 200, and perhaps without a code.
    if isinstance(says, bool) and code_of(content) is None:
        envelope = Envelope(status, message_of(content), content.get("data"), genuine=True)
    else:
        envelope = open_envelope(status, body, _ADVICE)
    return envelope, envelope.genuine and 200 <= envelope.code <= 299 and says is not False


def _json_of(body: bytes) -> dict[str, Any]:
    try:
        content = parse_json(body)
    except DecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def _error(
    provider: Provider, envelope: Envelope, status: int, headers: Mapping[str, str], name: str
) -> APIError:
    rule = provider.classify(envelope.code, envelope.message, in_envelope=envelope.genuine)
    # The link may be in it, and so may the name in it, which is all that protects the song.
    words = _LINK.sub("<link>", envelope.message).replace(name, "<name>")
    return rule.error(
        printable(without_queries(words)),
        code=envelope.code,
        http_status=status,
        retry_after=retry_after(headers),
        action=rule.action,
        hint=_hint(rule, is_genuine=envelope.genuine),
        in_envelope=envelope.genuine,
    )


def _hint(rule: ErrorRule, *, is_genuine: bool) -> str:
    hint = (rule.hint or rule.error.hint or "The file was not stored.").replace(
        "base_url", "upload_url"
    )
    if is_genuine or "upload_url" in hint:
        return hint
    return f"{hint} The answer is none of an upload host: {_ADVICE}."


def _is_link(value: Any) -> bool:
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def _media_type(value: Any) -> str | None:
    return value if isinstance(value, str) and _MEDIA_TYPE.fullmatch(value) else None


def _time(value: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return None if time.utcoffset() is None else time
