"""On the wire: one request for each creation, whatever a server or something in between does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_server import FaultServer

from vocalsep_async import CreationUncertainError, Interval, RetryPolicy, VocalSepClient

pytestmark = pytest.mark.anyio

UNKNOWN = ["rst_before", "fin_before", "rst_mid_headers", "half_body_fin", "html502", "html504"]
REDIRECTS = ["redirect_302_elsewhere", "redirect_307_elsewhere", "redirect_308_elsewhere"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.mark.parametrize("fault", [*UNKNOWN, *REDIRECTS, "redirect_loop", "empty200", "garbage"])
async def test_one_creation_arrives_and_its_song_is_reported_from_then_on(
    server: FaultServer, tmp_path: Path, fault: str
) -> None:
    for _ in range(2):
        async with VocalSepClient(
            "sk-test-0123456789",
            base_url=f"{server.url}/{fault}",
            rate_limit=None,
            retry=RetryPolicy(attempts=4, initial=0.001, maximum=0.001),
            poll=Interval(0.001),
        ) as client:
            with pytest.raises(CreationUncertainError, match="may have been created"):
                await client.separate("https://a.example/a.mp3", journal=tmp_path / "journal")
    assert [seen.method for seen in server.seen] == ["POST"]


async def test_a_read_timeout_is_no_answer_and_no_second_request(
    server: FaultServer, tmp_path: Path
) -> None:
    for _ in range(2):
        async with VocalSepClient(
            "sk-test-0123456789", base_url=f"{server.url}/black_hole", request_timeout=2.0
        ) as client:
            with pytest.raises(CreationUncertainError, match="may have been created"):
                await client.separate("https://a.example/a.mp3", journal=tmp_path / "journal")
    assert [seen.method for seen in server.seen] == ["POST"]
