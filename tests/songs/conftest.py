"""What the tests of songs share: virtual time, a provider that creates tasks, and journals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from batch.journals import journals_in_virtual_time, run_inline
from fakes import FakeProvider
from songs.creating import creates_tasks
from virtual_time import VIRTUAL_TIME


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    journals_in_virtual_time(monkeypatch)
    monkeypatch.setattr("vocalsep_async._uploads.content.run_sync", run_inline)
    return tmp_path / "songs.journal"


@pytest.fixture
def api(provider: FakeProvider) -> FakeProvider:
    """A provider whose tasks are created with the ids task-1, task-2 and so on."""
    return creates_tasks(provider)
