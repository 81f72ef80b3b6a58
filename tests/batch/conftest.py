"""Batches wait: all their tests run in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from virtual_time import VIRTUAL_TIME


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param
