"""What several tests of the command line need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cli.inside import signals_kept

from vocalsep_async.cli.stop import Stop


@pytest.fixture
def stop() -> Iterator[Stop]:
    """Who heeds signals for as long as a test lasts."""
    with signals_kept():
        yield Stop()
