"""Long parametrisations, of which the ordinary run takes a sample."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def sampled(values: Iterable[Any], one_in: int) -> list[Any]:
    """Parameters of which each *one_in*-th is always tried, and the others with the marker deep."""
    return [
        value if number % one_in == one_in // 2 else _deep(value)
        for number, value in enumerate(values)
    ]


def _deep(value: Any) -> Any:
    if isinstance(value, type(pytest.param())):
        return pytest.param(*value.values, marks=[*value.marks, pytest.mark.deep], id=value.id)
    return pytest.param(value, marks=pytest.mark.deep)
