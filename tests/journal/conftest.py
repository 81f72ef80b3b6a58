"""Fixtures for tests of journals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from batch.journals import InlineExecutor, run_inline
from journal.running import Gate

from vocalsep_async._journal.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.journal"


@pytest.fixture
def opening(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A gate at which stores wait once they are open; they are closed after the test."""
    gate, stores = Gate(), []
    prepare = Store._prepare

    def prepare_and_wait(store: Store) -> None:
        prepare(store)
        stores.append(store)
        gate()

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_prepare", prepare_and_wait)
        yield gate
    for store in stores:
        store.close()


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """When writes reached the file, and how many together; in virtual time."""
    seen: list[tuple[float, int]] = []
    apply = Store.apply

    def watched(store: Store, writes: list[object], *, durably: bool = False) -> int:
        seen.append((anyio.current_time(), len(writes)))
        return apply(store, writes, durably=durably)  # type: ignore[arg-type]

    monkeypatch.setattr("vocalsep_async._journal.journal.run_sync", run_inline)
    monkeypatch.setattr("vocalsep_async._journal.writer.ThreadPoolExecutor", InlineExecutor)
    monkeypatch.setattr(Store, "apply", watched)
    return seen
