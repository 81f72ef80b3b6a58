"""``VOCALSEP_LOG``: the log on the error output."""

from __future__ import annotations

import logging
import re

import pytest
from fakes import make_client

from vocalsep_async import ConfigurationError
from vocalsep_async._logging import StderrHandler

ROOT = logging.getLogger("vocalsep_async")
POLLS = logging.getLogger("vocalsep_async.polls")


@pytest.fixture(autouse=True)
def _log_of_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ROOT, "handlers", [])


def start(monkeypatch: pytest.MonkeyPatch, *handlers: logging.Handler) -> None:
    """Make a client in a program whose root logger has *handlers*, and not those of pytest."""
    monkeypatch.setenv("VOCALSEP_LOG", "info")
    monkeypatch.setattr(logging.getLogger(), "handlers", list(handlers))
    make_client()


def ours() -> list[logging.Handler]:
    return [each for each in ROOT.handlers if isinstance(each, StderrHandler)]


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_client_without_the_variable_attaches_no_handler(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("VOCALSEP_LOG", value)
    level = ROOT.level
    make_client()
    assert ours() == []
    assert ROOT.level == level


@pytest.mark.parametrize("value", ["debug", "info", "warning", " DEBUG "])
def test_the_variable_sets_the_level_of_the_package(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOCALSEP_LOG", value)
    make_client()
    assert logging.getLevelName(ROOT.level).lower() == value.strip().lower()


def test_an_unknown_level_is_rejected_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOCALSEP_LOG", "verbose")
    with pytest.raises(ConfigurationError, match="VOCALSEP_LOG must be one of: debug, info, warn"):
        make_client()
    assert ours() == []


def test_a_record_is_written_with_time_and_logger(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start(monkeypatch)
    POLLS.info("hello")
    POLLS.debug("not this")
    text = capsys.readouterr().err
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ INFO vocalsep_async.polls: hello\n", text
    )


def test_several_clients_write_each_record_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start(monkeypatch)
    make_client()
    assert len(ours()) == 1
    POLLS.info("hello")
    assert capsys.readouterr().err.count("hello") == 1


class Kept(logging.Handler):
    """A handler of an application."""

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.mark.parametrize("logger", ["", "vocalsep_async", "vocalsep_async.polls"])
def test_a_record_that_the_application_takes_is_left_to_it(
    logger: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start(monkeypatch)
    monkeypatch.setattr(
        logging.getLogger(logger),
        "handlers",
        [*logging.getLogger(logger).handlers, kept := Kept(logging.WARNING)],
    )
    POLLS.warning("loud")
    POLLS.info("quiet")
    assert [each.getMessage() for each in kept.records] == ["loud"]
    text = capsys.readouterr().err
    assert "quiet" in text
    assert "loud" not in text


def test_a_handler_that_writes_nothing_takes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ROOT, "handlers", [logging.NullHandler()])
    start(monkeypatch)
    POLLS.info("hello")
    assert "hello" in capsys.readouterr().err


def test_a_logger_that_does_not_propagate_hides_the_handlers_above(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ROOT, "propagate", False)
    start(monkeypatch, Kept())
    POLLS.info("hello")
    assert "hello" in capsys.readouterr().err


def test_an_error_output_that_is_gone_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch)
    monkeypatch.setattr("sys.stderr", None)
    POLLS.info("hello")
