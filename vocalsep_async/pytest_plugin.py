"""The emulator, and a client connected to it, as pytest fixtures for sync and async tests.

The fixtures are available as soon as the package is installed::

    async def test_my_program(vocalsep_emulator, vocalsep_client):
        task_id = vocalsep_emulator.add_task()
        assert (await vocalsep_client.wait_for_task(task_id)).succeeded

    @pytest.fixture
    def vocalsep_emulator_options():
        return {"provider": "kie", "failure_rate": 0.2}
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from vocalsep_async.client import ClientOptions, VocalSepClient
    from vocalsep_async.emulator import Emulator


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    """Options of `vocalsep_emulator`, none by default; override this fixture to set them."""
    return {}


@pytest.fixture
def vocalsep_emulator(vocalsep_emulator_options: dict[str, Any]) -> Iterator[Emulator]:
    """A running `vocalsep_async.emulator.Emulator`, in an event loop and a thread of its own.

    Unless the options say otherwise, its tasks take 20 to 240 ms (``speed=1000``), and it has no
    rate limit.
    """
    # Imported here, because every pytest run in the environment loads this module.
    from vocalsep_async.emulator import Emulator  # noqa: PLC0415

    options = {"speed": 1000.0, "rate_limit": None} | vocalsep_emulator_options
    with Emulator(**options) as emulator:
        yield emulator


@pytest.fixture
def vocalsep_client_options() -> ClientOptions:
    """Options of `vocalsep_client`, none by default; override this fixture to set them."""
    return {}


@pytest.fixture
def vocalsep_client(
    vocalsep_emulator: Emulator, vocalsep_client_options: ClientOptions
) -> Iterator[VocalSepClient]:
    """A `VocalSepClient` for `vocalsep_emulator`, with `fast_settings`; closed after the test.

    It belongs to the event loop that first uses it, as every client does: that of an async test, or
    each ``asyncio.run`` of a sync test in turn.
    """
    from vocalsep_async.emulator.fixture import fast_client  # noqa: PLC0415

    with fast_client(vocalsep_emulator, vocalsep_client_options) as client:
        yield client
