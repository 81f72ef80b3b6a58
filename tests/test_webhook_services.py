"""The example services as processes beside an emulator; see benchmarks/webhook_services.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from vocalsep_async.emulator import CallbackFaults
from vocalsep_async.webhooks import ReceiverStats

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="a listener goes to another process"),
]
SONGS = 6


def _benchmark() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "webhook_services.py"
    spec = importlib.util.spec_from_file_location("webhooks_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its frozen classes look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


benchmark = _benchmark()
frameworks = pytest.mark.parametrize("framework", ["fastapi", "aiohttp"])


@frameworks
async def test_a_service_whose_callbacks_all_come_polls_each_task_once(framework: str) -> None:
    found = await benchmark.measure(
        framework, CallbackFaults(), songs=SONGS, apart=0.0, speed=100.0
    )
    assert found.answered == SONGS
    assert found.throttled == 0
    # The first poll of a task may find it running, and the callback comes after that.
    assert found.callbacks.received == SONGS
    assert found.callbacks.woke + found.callbacks.unawaited == SONGS
    assert set(found.polls) <= {1, 2}


async def test_a_service_whose_callbacks_get_lost_answers_each_request() -> None:
    faults = CallbackFaults(lost=0.5)
    found = await benchmark.measure("aiohttp", faults, songs=SONGS, apart=0.0, speed=100.0)
    assert found.answered == SONGS
    assert found.throttled == 0
    assert found.callbacks.received < SONGS


@frameworks
async def test_a_service_refuses_forged_callbacks_and_loses_nothing(framework: str) -> None:
    faults = CallbackFaults(lost=0.2, repeated=0.5, wrong_address=1.0, changed=0.5)
    found = await benchmark.measure(framework, faults, songs=SONGS, apart=0.0, speed=20.0)
    assert found.answered == SONGS
    assert found.forged == SONGS
    assert found.callbacks.forged == SONGS
    assert found.throttled == 0


async def test_a_service_without_callbacks_answers_each_request() -> None:
    found = await benchmark.measure("fastapi", None, songs=SONGS, apart=0.0, speed=100.0)
    assert found.answered == SONGS
    assert found.callbacks == ReceiverStats()
