"""Fixtures of several tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cli.in_process import restored_signals

from vocalsep_async.cli.process import StopSignal


@pytest.fixture
def stop() -> Iterator[StopSignal]:
    """A signal handler for the duration of a test."""
    with restored_signals():
        yield StopSignal()
