"""The log records that events make, by level, logger and text."""

from __future__ import annotations

import ast
import asyncio
import json
import logging
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from event_values import EVENTS, OUTCOME, STATS, failed_poll, poll
from test_instrumentation import LINK, PAGE, STEMS_WITH_A_LINK
from virtual_time import VIRTUAL_TIME, VirtualTimeLoop

import vocalsep_async
from vocalsep_async._events import Events
from vocalsep_async.errors import (
    APIError,
    AuthenticationError,
    DecodeError,
    MaintenanceError,
    RateLimitedError,
    ServerError,
    TaskNotFoundError,
    TransportError,
    VocalSepError,
)
from vocalsep_async.errors import ErrorAction as Action
from vocalsep_async.instrumentation import (
    BatchFinished,
    OutcomeDelivered,
    PollStarted,
    RequestRetried,
    TaskFinished,
    UploadFinished,
    WaitFinished,
    WaitStarted,
)

pytestmark = pytest.mark.anyio
OUTAGE = TransportError("GET /path at host: no connection (refused)")
UNKNOWN = TaskNotFoundError("gone", code=404, http_status=200, action=Action.RETRY)


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
def _every_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "vocalsep_async")


def logged(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == level]


def jump(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.jump(seconds)


LINES = {
    "wait.started": "INFO waits: wait-1 for task 'a' started with a timeout of 900 s",
    "wait.finished": "INFO waits: wait-1 for task 'a' finished after 61.0 s and 4 polls: SUCCESS",
    "batch.started": "INFO batches: batch-2 started with 4 tasks",
    "batch.finished": (
        "INFO batches: batch-2 finished after 61.0 s: 2 succeeded, 1 failed, 1 pending"
    ),
    "download.started": "INFO downloads: download-1 started: 1 stem of task 'a'",
    "download.finished": (
        "INFO downloads: download-1 of task 'a' finished after 3.0 s: 1 saved, 0 failed"
    ),
    "poll.finished": "DEBUG polls: poll 2 of task 'a' took 0.250 s: PENDING; next poll in 3.5 s",
    "request.retried": "DEBUG requests: GET /path failed, retrying in 1.5 s: no answer",
    "throttled": "DEBUG limits: a request was throttled with code 430",
    "paused": "INFO limits: all requests pause for 10.0 s: code 430",
    "resumed": "INFO limits: the pause is over",
    "task.finished": "INFO tasks: task 'a' ended with status SUCCESS, noticed 1.0 s later",
    "outcome.delivered": "DEBUG batches: batch-2 delivered the outcome of task 'a'",
    "stem.started": "DEBUG downloads: stem vocal of task 'a' started",
    "stem.saved": "DEBUG downloads: stem vocal of task 'a' is complete: 12 bytes",
    "stem.failed": "INFO downloads: stem vocal of task 'a' failed: no answer",
    "upload.started": "INFO uploads: upload-4 started",
    "upload.finished": "INFO uploads: upload-4 finished after 2.0 s: 12 bytes",
    "creation.intended": "INFO creations: creation-3 started: separate_vocal",
    "creation.sent": "DEBUG creations: creation-3 is being sent",
    "creation.confirmed": "INFO creations: creation-3 created task 'a'",
    "creation.failed": "INFO creations: creation-3 failed: no answer; the task may exist",
    "journal.opened": "INFO journal: journal journal.sqlite opened",
    "journal.written": "DEBUG journal: journal journal.sqlite was written in 0.003 s",
    "journal.closed": "INFO journal: journal journal.sqlite closed",
}


async def test_every_event_is_one_record_and_a_poll_is_one_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for event in EVENTS:
        caplog.clear()
        Events().emit(event)
        lines = [
            f"{each.levelname} {each.name.removeprefix('vocalsep_async.')}: {each.getMessage()}"
            for each in caplog.records
        ]
        assert lines == ([] if isinstance(event, PollStarted) else [LINES[event.name]])


async def test_a_log_record_leaves_out_values_that_are_not_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Events().emit(WaitStarted(wait_id="wait-1", task_id="a", timeout=None))
    Events().emit(poll(next_poll_in=None))
    finished = next(each for each in EVENTS if isinstance(each, TaskFinished))
    Events().emit(attrs.evolve(finished, delay=None))
    assert [each.getMessage() for each in caplog.records] == [
        "wait-1 for task 'a' started without a timeout",
        "poll 2 of task 'a' took 0.250 s: PENDING",
        "task 'a' ended with status SUCCESS",
    ]


async def test_the_record_of_an_upload_that_failed_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for size in (12, None):
        Events().emit(UploadFinished(upload_id="upload-1", duration=2.0, size=size, error=OUTAGE))
    assert [each.getMessage() for each in caplog.records] == [
        f"upload-1 failed after 2.0 s: {OUTAGE}"
    ] * 2


async def test_a_record_carries_the_fields_of_its_event_as_plain_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for event in [*EVENTS, failed_poll(OUTAGE)]:
        caplog.clear()
        Events().emit(event)
        for record in caplog.records:
            extra = {
                name.removeprefix("vocalsep_"): value
                for name, value in vars(record).items()
                if name.startswith("vocalsep_")
            }
            assert extra.pop("event") == event.name
            assert set(extra) == {field.name for field in attrs.fields(type(event))}
            assert json.dumps(extra)


# Streaks


async def test_an_outage_of_many_tasks_warns_once_and_its_end_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = Events()
    for failures in (1, 2):
        for number in range(200):
            events.emit(failed_poll(OUTAGE, str(number), failures))
    assert logged(caplog, logging.WARNING) == [
        "polling failed, retrying: GET /path at host: no connection (refused)"
    ]
    jump(540.0)
    events.emit(poll("0"))
    events.emit(poll("1"))
    assert logged(caplog, logging.INFO) == ["polls succeed again after 400 failures in 540.0 s"]
    assert len(logged(caplog, logging.DEBUG)) == 402


async def test_the_next_outage_warns_again(caplog: pytest.LogCaptureFixture) -> None:
    events = Events()
    for _ in range(2):
        events.emit(failed_poll(OUTAGE))
        events.emit(poll())
    assert len(logged(caplog, logging.WARNING)) == 2
    assert logged(caplog, logging.INFO)[1] == "polls succeed again after 1 failure in 0.0 s"


async def test_two_clients_have_streaks_of_their_own(caplog: pytest.LogCaptureFixture) -> None:
    Events().emit(failed_poll(OUTAGE))
    Events().emit(failed_poll(OUTAGE))
    assert len(logged(caplog, logging.WARNING)) == 2


@pytest.mark.parametrize(
    "error",
    [
        OUTAGE,
        ServerError("broken", code=500, http_status=200, action=Action.RETRY),
        MaintenanceError("closed", code=455, http_status=200, action=Action.MAINTENANCE),
        DecodeError("not JSON"),
        APIError("", code=403, http_status=403, in_envelope=False),
        TransportError("redirected (302)", action=Action.RAISE),
    ],
    ids=lambda each: type(each).__name__,
)
async def test_an_error_of_connection_or_server_concerns_all_tasks(
    error: VocalSepError, caplog: pytest.LogCaptureFixture
) -> None:
    events = Events()
    events.emit(failed_poll(error, "a"))
    events.emit(failed_poll(error, "b"))
    events.emit(poll("c"))
    assert len(logged(caplog, logging.WARNING)) == len(logged(caplog, logging.INFO)) == 1


@pytest.mark.parametrize(
    "error",
    [UNKNOWN, DecodeError("other record", in_envelope=True)],
    ids=lambda e: type(e).__name__,
)
async def test_an_error_about_one_task_warns_once_for_each_task(
    error: VocalSepError, caplog: pytest.LogCaptureFixture
) -> None:
    events = Events()
    for failures in (1, 2):
        events.emit(failed_poll(error, "a", failures))
        events.emit(failed_poll(error, "b", failures))
        events.emit(poll("c"))
    warnings = logged(caplog, logging.WARNING)
    assert [text.partition(" fail")[0] for text in warnings] == [
        "polling task 'a'",
        "polling task 'b'",
    ]
    events.emit(poll("b"))
    assert logged(caplog, logging.INFO) == [
        "polls of task 'b' succeed again after 2 failures in 0.0 s"
    ]


async def test_the_log_warns_once_of_a_task_that_alone_gets_server_errors(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = Events()
    for failures in range(1, 5):
        events.emit(failed_poll(OUTAGE, "a", failures))
        events.emit(poll("b"))
    assert len(logged(caplog, logging.WARNING)) == 1


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("no", code=401, http_status=200),
        RateLimitedError("slow", code=430, http_status=200, action=Action.THROTTLE),
        ValueError("of a policy"),
    ],
    ids=lambda each: type(each).__name__,
)
async def test_errors_that_are_raised_or_pause_the_client_do_not_warn(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    events = Events()
    events.emit(failed_poll(error))
    events.emit(poll())
    assert [each.levelno for each in caplog.records] == [logging.DEBUG, logging.DEBUG]


@pytest.mark.parametrize(
    "end",
    [
        WaitFinished(
            wait_id="wait-1", task_id="a", duration=1.0, polls=1, status=None, error=UNKNOWN
        ),
        OutcomeDelivered(batch_id="batch-1", outcome=OUTCOME),
        BatchFinished(batch_id="batch-1", duration=1.0, stats=STATS, error=None),
    ],
    ids=lambda each: each.name,
)
async def test_a_task_that_is_left_is_forgotten(end: Any) -> None:
    logging.getLogger("vocalsep_async.polls").setLevel(logging.INFO)
    try:
        events = Events()
        events.emit(failed_poll(UNKNOWN, "a"))
        assert events
        events.emit(end)
        assert not events
    finally:
        logging.getLogger("vocalsep_async.polls").setLevel(logging.NOTSET)


async def test_the_end_of_a_batch_does_not_end_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    events = Events()
    events.emit(failed_poll(OUTAGE))
    events.emit(BatchFinished(batch_id="batch-1", duration=1.0, stats=STATS, error=None))
    events.emit(poll("b"))
    assert "polls succeed again after 1 failure in 0.0 s" in logged(caplog, logging.INFO)


async def test_the_first_retry_of_a_request_warns_unless_polls_warned_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = Events()
    first = RequestRetried(request="GET /credit", attempt=1, delay=1.0, error=OUTAGE)
    events.emit(first)
    assert len(logged(caplog, logging.WARNING)) == 1
    events.emit(attrs.evolve(first, attempt=2))
    events.emit(failed_poll(OUTAGE))
    events.emit(first)
    assert len(logged(caplog, logging.WARNING)) == 2


# Secrets and control characters


async def test_no_record_holds_a_link_or_the_message_of_a_foreign_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outcome = attrs.evolve(OUTCOME, task=STEMS_WITH_A_LINK)
    Events().emit(OutcomeDelivered(batch_id="batch-1", outcome=outcome))
    Events().emit(failed_poll(ValueError(LINK)))
    shown = "".join(f"{each.getMessage()} {vars(each)!r}" for each in caplog.records)
    assert len(caplog.records) == 2
    assert "secret-of-the-link" not in shown


async def test_a_record_is_one_printable_line(caplog: pytest.LogCaptureFixture) -> None:
    strange = "a\n\x1b[31m\ud800"
    Events().emit(failed_poll(TransportError(strange), strange))
    Events().emit(poll(strange, status=strange))
    assert len(caplog.records) == 3
    assert all(each.getMessage().isprintable() for each in caplog.records)


# Names of loggers


def names_in(source: str) -> set[str]:
    calls = [each for each in ast.walk(ast.parse(source)) if isinstance(each, ast.Call)]
    return {
        ast.literal_eval(each.args[0])
        for each in calls
        if isinstance(each.func, ast.Attribute) and each.func.attr == "getLogger" and each.args
        if isinstance(each.args[0], ast.Constant)
    }


def test_the_manual_lists_every_logger_and_no_other() -> None:
    package = Path(vocalsep_async.__file__).parent
    sources = [each.read_text(encoding="utf-8") for each in package.rglob("*.py")]
    used = set().union(*map(names_in, sources)) - {"vocalsep_async"}
    assert used == set(re.findall(r"^\| `(vocalsep_async\.\w+)` \|", PAGE, re.MULTILINE))


def test_no_module_names_its_logger_after_its_path() -> None:
    package = Path(vocalsep_async.__file__).parent
    for path in package.rglob("*.py"):
        assert "getLogger(__name__)" not in path.read_text(encoding="utf-8"), path
