"""All tests of batches run in virtual time; those with a journal use `path` and `wall`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from batch.journals import WallClock, journals_in_virtual_time
from virtual_time import VIRTUAL_TIME


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    return journals_in_virtual_time(monkeypatch)


@pytest.fixture
def path(tmp_path: Path, wall: WallClock) -> Path:
    """The path of a journal that works in virtual time."""
    return tmp_path / "batch.journal"
