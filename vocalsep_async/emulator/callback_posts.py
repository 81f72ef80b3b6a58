"""A callback as it is sent: its address, its headers and its body, genuine or forged."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from attrs import frozen
from yarl import URL

from vocalsep_async.emulator.callback_faults import CallbackKind
from vocalsep_async.emulator.responses import compact

_STALE = 3600.0
"""Seconds since a stale callback was signed."""


@frozen
class CallbackPost:
    """One callback as it is sent.

    Attributes:
        task_id: the task.
        kind: what it is.
        url: where it is sent.
        headers: the headers that sign it; empty if it is unsigned.
        body: JSON.
    """

    task_id: str
    kind: CallbackKind
    url: URL
    headers: Mapping[str, str]
    body: bytes


def callback_post(
    task_id: str,
    kind: CallbackKind,
    url: URL,
    content: Mapping[str, Any],
    *,
    key: str | None,
    now: float,
) -> CallbackPost:
    """Return the callback for a task.

    Args:
        task_id: the task.
        kind: what it is; what is forged in it follows from this.
        url: the callback URL of the task.
        content: the body.
        key: the key that signs callbacks; None if the service does not sign them.
        now: the clock of the service, in seconds since 1970.
    """
    if kind is CallbackKind.WRONG_ADDRESS:
        url = _with_a_character_more(url)
    headers = {} if key is None else _signature_headers(kind, key, task_id, now)
    return CallbackPost(task_id, kind, url, headers, compact(content).encode())


def _with_a_character_more(url: URL) -> URL:
    """Return *url* with a longer query or, if it has none, with a longer path."""
    if url.raw_query_string:
        return URL(f"{url.with_fragment(None)}0", encoded=True)
    return url.with_path(f"{url.raw_path}0", encoded=True)


def _signature_headers(kind: CallbackKind, key: str, task_id: str, now: float) -> dict[str, str]:
    match kind:
        case CallbackKind.UNSIGNED:
            return {}
        case CallbackKind.WRONG_SIGNATURE:
            return signature_headers(key + "0", task_id, now)
        case CallbackKind.STALE:
            return signature_headers(key, task_id, now - _STALE)
        case _:
            return signature_headers(key, task_id, now)


def signature_headers(key: str, task_id: str, at: float) -> dict[str, str]:
    """Return the headers that kie.ai documents for a callback signed *at* seconds since 1970."""
    timestamp = str(int(at))
    message = f"{task_id}.{timestamp}".encode("utf-8", "surrogatepass")
    digest = hmac.new(key.encode(), message, hashlib.sha256).digest()
    return {
        "X-Webhook-Timestamp": timestamp,
        "X-Webhook-Signature": base64.b64encode(digest).decode(),
    }
