"""Fixtures of the tests of webhooks."""

from __future__ import annotations

import hmac
from typing import Any

import pytest


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """The pairs that were compared in constant time."""
    pairs: list[tuple[Any, Any]] = []
    compare = hmac.compare_digest

    def compare_digest(one: Any, other: Any) -> bool:
        pairs.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    return pairs
