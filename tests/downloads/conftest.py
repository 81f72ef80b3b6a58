"""Fixtures for tests of downloads."""

from __future__ import annotations

import pytest

from vocalsep_async._downloads import patience


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a file host that is away up after the tries of the `RetryPolicy`: the time is real."""
    monkeypatch.setattr(patience, "FILE_HOST_PATIENCE", 0.0)
