"""What the tests of the emulator share."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from emulator.calling import Caller


@pytest.fixture
async def caller(anyio_backend: str) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer some-key"}) as session:
        yield Caller(session)
