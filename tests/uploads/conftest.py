"""What the tests of uploads share: a host in the loop of the test, and clients that know it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from uploads.upload_host import KEY, UploadHost, upload_host

from vocalsep_async import RetryPolicy, VocalSepClient

SONG = b"ID3" + bytes(range(256)) * 900
"""Three pieces and a half."""


@pytest.fixture
async def host() -> AsyncIterator[UploadHost]:
    async with upload_host() as host:
        yield host


@pytest.fixture
async def client(host: UploadHost) -> AsyncIterator[VocalSepClient]:
    async with make_client(host) as client:
        yield client


def make_client(host: UploadHost, **options: Any) -> VocalSepClient:
    retry = options.pop("retry", RetryPolicy(attempts=3, initial=0.001, maximum=0.001))
    # The API itself is nowhere: uploads do not need it.
    return VocalSepClient(
        KEY, base_url="http://127.0.0.1:1", upload_url=host.url, retry=retry, **options
    )


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "My Song.MP3"
    path.write_bytes(SONG)
    return path
