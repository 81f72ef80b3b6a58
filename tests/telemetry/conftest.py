"""An application with OpenTelemetry, whose own log must stay empty."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from telemetry.telemetry import Telemetry


@pytest.fixture
def telemetry(caplog: pytest.LogCaptureFixture) -> Iterator[Telemetry]:
    caplog.set_level(logging.DEBUG, "opentelemetry")
    yield Telemetry()
    # A span that is left in another context than it was entered in is an error in this log, and a
    # second instrument of one name a warning.
    assert [each.getMessage() for each in caplog.records if "opentelemetry" in each.name] == []
    assert [each.getMessage() for each in caplog.records if "failed at" in each.getMessage()] == []
