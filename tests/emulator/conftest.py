"""Fixtures for the tests of the emulator."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from emulator.http_client import HttpClient


@pytest.fixture
async def http(anyio_backend: str) -> AsyncIterator[HttpClient]:
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer some-key"}) as session:
        yield HttpClient(session)
