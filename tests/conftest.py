"""What several test files share.

Coroutine tests run on asyncio in real time; a file whose subject is waiting overrides
``anyio_backend`` with `VIRTUAL_TIME` and never sees a real second pass.
"""

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture
def anyio_backend() -> str:
    """Run coroutine tests on asyncio: aiohttp has no other."""
    return "asyncio"
