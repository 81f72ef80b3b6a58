"""Any request at all: each is answered with a status that is documented, and counted once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import attrs
import pytest
from fakes import make_client, provider_in_place
from hypothesis import given, settings
from hypothesis import strategies as st
from receivers.callbacks import KEY, Request, callback, make_receiver, path_of, scope_of, signed
from virtual_time import VirtualTimeLoop

STATUSES = {200, 400, 401, 408, 413}
NAMES = st.sampled_from(
    [
        b"Content-Length",
        b"content-length",
        b"content-encoding",
        b"x-webhook-signature",
        b"x-webhook-timestamp",
    ]
)
VALUES = st.binary(max_size=30) | st.sampled_from([b"identity", b"0", b"50", b"gzip", b" 7 "])
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=5)
BODIES = st.sampled_from([callback(), callback(code=202), callback("b", code=500)]) | st.binary()


async def answered(sent: dict[str, Any], chunks: Sequence[bytes], options: Any) -> None:
    async with make_client() as client:
        receiver = make_receiver(client, max_bytes=1000, **options)
        own = path_of(receiver) if receiver._secret_address else "/"
        request = Request(*chunks, ends=sent["ends"], leaves=sent["leaves"])
        scope = scope_of(own if sent["path"] is None else sent["path"])
        scope["headers"] = [*(signature() if sent["is_signed"] else []), *sent["headers"]]
        scope |= {} if sent["raw"] else {"raw_path": None}
        await receiver(scope, request.receive, request.send)
    assert request.response.status in STATUSES
    counts = attrs.asdict(receiver.stats)
    assert counts.pop("received") == sum(counts.values()) == 1


def signature() -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in signed().items()]


@settings(max_examples=settings().max_examples // 2)
@given(
    sent=st.fixed_dictionaries(
        {
            "path": st.none() | st.text(st.characters(codec="utf-8")),
            "raw": st.booleans(),
            "headers": HEADERS,
            "is_signed": st.booleans(),
            "ends": st.booleans(),
            "leaves": st.booleans(),
        }
    ),
    body=BODIES,
    cuts=st.lists(st.integers(0, 200), max_size=4),
    options=st.sampled_from([{}, {"keys": KEY}, {"unverified": True}]),
)
def test_any_request_gets_a_documented_status_and_is_counted_once(
    sent: dict[str, Any], body: bytes, cuts: list[int], options: Any
) -> None:
    edges = [0, *sorted(cuts), len(body) + 200]
    chunks = [body[begin:end] for begin, end in pairwise(edges)]
    with (
        pytest.MonkeyPatch.context() as patch,
        provider_in_place(patch),
        asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
    ):
        runner.run(answered(sent, chunks, options))
