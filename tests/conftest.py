"""What several test files share.

Coroutine tests run on asyncio in real time; a file whose subject is waiting overrides
``anyio_backend`` with `VIRTUAL_TIME` and never sees a real second pass.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes import FakeProvider, provider_in_place

pytest_plugins = ["pytester"]


@pytest.fixture
def anyio_backend() -> str:
    """Run coroutine tests on asyncio: aiohttp has no other."""
    return "asyncio"


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeProvider]:
    """Have clients talk to a provider in virtual time."""
    with provider_in_place(monkeypatch) as provider:
        yield provider
