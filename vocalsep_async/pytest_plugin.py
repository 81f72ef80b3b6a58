"""The emulator as a pytest fixture, for sync tests and for async tests under any plugin.

The fixture is available as soon as the package is installed::

    async def test_my_program(vocalsep_emulator):
        task_id = vocalsep_emulator.add_task(duration=0)
        ...  # run the program against vocalsep_emulator.url

    @pytest.fixture
    def vocalsep_emulator_options():
        return {"provider": "kie", "speed": 100}
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from vocalsep_async.emulator import Emulator


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    """Options of `vocalsep_emulator`, none by default; a fixture of this name replaces them."""
    return {}


@pytest.fixture
def vocalsep_emulator(vocalsep_emulator_options: dict[str, Any]) -> Iterator[Emulator]:
    """A running `vocalsep_async.emulator.Emulator`, in an event loop and a thread of its own."""
    # Imported here, because every pytest run in the environment loads this module.
    from vocalsep_async.emulator import Emulator  # noqa: PLC0415

    with Emulator(**vocalsep_emulator_options) as emulator:
        yield emulator
