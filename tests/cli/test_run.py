"""Running a command: errors as sentences, exit codes, and a batch from its client to its report."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from cli.in_process import assert_error, call, restored_signals
from cli.stats import batch, snapshot
from cli.subprocesses import KEY
from fakes import FakeProvider, finished, make_client, record

from vocalsep_async import (
    AuthenticationError,
    ConfigurationError,
    DecodeError,
    RateLimitedError,
    RequestTimeoutError,
    TaskTimeoutError,
    TransportError,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async.cli.activity import Activity, StemCounts
from vocalsep_async.cli.options import Settings
from vocalsep_async.cli.output import Output
from vocalsep_async.cli.process import ExitCode, StopSignal
from vocalsep_async.cli.run import (
    BatchRun,
    check_file,
    check_folder,
    command_line,
    run_command,
    summary,
)
from vocalsep_async.cli.view import RunOptions
from vocalsep_async.emulator import Emulator, Fault

CREATE = (
    *("create", "--callback-url", "https://example.com/hook"),
    *("--audio-url", "https://example.com/song.mp3"),
)
NOT_THERE = FileNotFoundError(errno.ENOENT, "No such file or directory", "ids.txt")
DEAD_KEY = AuthenticationError("no", code=401, http_status=200)


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    return {"rate_limit": None, "speed": 1000}


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    with restored_signals():
        yield


def status_after(error: BaseException | None, *, debug: bool = False) -> int:
    """The exit code of a command that raises *error*."""

    async def work(_stop: StopSignal) -> ExitCode:
        if error is not None:
            raise error
        return ExitCode.TIMED_OUT

    with pytest.raises(typer.Exit) as caught:
        run_command(Settings(debug=debug), work)
    return caught.value.exit_code


Captured = pytest.CaptureFixture[str]


def test_a_command_exits_with_the_code_that_it_returns() -> None:
    assert status_after(None) == 4


@pytest.mark.parametrize(
    "error, status, sentence",
    [
        (ConfigurationError("give ids"), 2, "give ids"),
        (DEAD_KEY, 3, str(DEAD_KEY)),
        (TransportError("no connection"), 1, "no connection"),
        (RequestTimeoutError("no answer in 30 s"), 1, "no answer in 30 s"),
        (
            TaskTimeoutError("too late", task_id="t", task=None, polls=1, last_error=None),
            4,
            "too late",
        ),
        (NOT_THERE, 2, "ids.txt: No such file or directory"),
        (ExceptionGroup("", [ExceptionGroup("", [DEAD_KEY])]), 3, str(DEAD_KEY)),
        (ExceptionGroup("", [NOT_THERE, DEAD_KEY]), 2, "ids.txt: No such file or directory"),
    ],
)
def test_an_expected_error_is_one_sentence(
    capsys: Captured, error: Exception, status: int, sentence: str
) -> None:
    assert status_after(error) == status
    assert capsys.readouterr() == ("", sentence + "\n")


def test_debugging_shows_by_what_the_provider_finds_the_answers(capsys: Captured) -> None:
    throttled = RateLimitedError("often", code=430, http_status=200)
    throttled.response_headers = {"date": "today", "cf-ray": "8a-FRA"}
    page = DecodeError("no JSON", http_status=502)
    page.response_headers = {"x-request-id": "https://a.example/?signature=secret"}
    throttled.__cause__ = page
    late = TaskTimeoutError("late", task_id="t", task=None, polls=1, last_error=throttled)
    status_after(late, debug=True)
    shown = capsys.readouterr().err
    assert "The answer: code 430, HTTP 200, date: today, cf-ray: 8a-FRA\n" in shown
    assert "The answer: HTTP 502, x-request-id: https://a.example/" in shown
    assert "secret" not in shown
    status_after(late)
    assert "The answer" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        KeyError("a fault"),
        ExceptionGroup("", [VocalSepError("expected"), KeyError("a fault")]),
        ExceptionGroup("", [NOT_THERE, ExceptionGroup("", [KeyError("a fault")])]),
    ],
)
def test_a_bug_is_raised_unchanged(capsys: Captured, error: Exception) -> None:
    async def work(_stop: StopSignal) -> ExitCode:
        raise error

    with pytest.raises(type(error)) as caught:
        run_command(Settings(), work)
    assert caught.value is error
    assert capsys.readouterr() == ("", "")


def test_a_bug_inside_a_command_is_raised(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> float:
        raise KeyError("a fault")

    monkeypatch.setattr(VocalSepClient, "get_credits", broken)
    result = call(vocalsep_emulator, "credits")
    assert isinstance(result.exception, KeyError)


def test_a_request_timeout_is_not_reported_as_an_os_error(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(*_: object) -> float:
        raise RequestTimeoutError("no answer in 30 s")

    monkeypatch.setattr(VocalSepClient, "get_credits", late)
    result = call(vocalsep_emulator, "credits")
    assert (result.exit_code, result.stderr) == (1, "no answer in 30 s\n")


# --debug


def test_debug_prints_a_traceback_and_then_the_sentence(capsys: Captured) -> None:
    assert status_after(TransportError("no connection"), debug=True) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback (most recent call last):\n")
    assert "in work" in shown
    assert shown.endswith("TransportError: no connection\nno connection\n")


def test_debug_prints_links_without_their_signatures(capsys: Captured) -> None:
    error = TransportError("no connection")
    error.add_note("GET https://cdn.example/v.mp3?sig=CANARY#CANARY and 'http://h/p?CANARY' failed")
    error.__cause__ = OSError("url='https://cdn.example/v.mp3?X-Signature=CANARY&x=y' is dead")
    status_after(error, debug=True)
    shown = capsys.readouterr().err
    assert "CANARY" not in shown
    assert "GET https://cdn.example/v.mp3 and 'http://h/p' failed" in shown
    assert "url='https://cdn.example/v.mp3' is dead" in shown


def test_a_traceback_is_printed_only_with_debug(vocalsep_emulator: Emulator) -> None:
    vocalsep_emulator.inject(Fault.UNAUTHORIZED, 2)
    plain = call(vocalsep_emulator, "get", "an-id")
    debugged = call(vocalsep_emulator, "--debug", "get", "an-id")
    assert (plain.exit_code, debugged.exit_code) == (3, 3)
    assert plain.stderr.splitlines() == debugged.stderr.splitlines()[-1:]
    assert "Traceback" in debugged.stderr


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.HTML, Fault.DROPPED])
def test_a_create_without_an_answer_warns_that_it_may_be_billed(
    vocalsep_emulator: Emulator, fault: Fault
) -> None:
    vocalsep_emulator.inject(fault, 10)
    result = call(vocalsep_emulator, *CREATE)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "may have been created and billed" in result.stderr


# Unwritable standard output


def run(emulator: Emulator, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    account = {"VOCALSEP_API_KEY": KEY, "VOCALSEP_BASE_URL": emulator.url}
    return subprocess.run(
        [sys.executable, "-m", "vocalsep_async", *words],
        env={**os.environ, **account},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        **options,
    )


@pytest.mark.parametrize("command", ["get", "wait", "track"])
def test_a_closed_pipe_is_exit_code_1_without_a_traceback(
    vocalsep_emulator: Emulator, command: str
) -> None:
    task_id = vocalsep_emulator.add_task(duration=0)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = run(vocalsep_emulator, "-q", command, task_id, stdout=writing)
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")  # noqa: PTH110
@pytest.mark.parametrize("command", ["get", "track"])
def test_a_full_disk_is_reported_as_such(vocalsep_emulator: Emulator, command: str) -> None:
    task_id = vocalsep_emulator.add_task(duration=0)
    with open("/dev/full", "w") as full:  # noqa: PTH123
        ended = run(vocalsep_emulator, "-q", command, task_id, stdout=full)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert "No space left on device" in ended.stderr
    assert "standard input" not in ended.stderr


@pytest.mark.skipif(os.name != "posix", reason="a shell that closes descriptors")
def test_a_closed_standard_output_prints_no_traceback(vocalsep_emulator: Emulator) -> None:
    account = {"VOCALSEP_API_KEY": KEY, "VOCALSEP_BASE_URL": vocalsep_emulator.url}
    ended = subprocess.run(
        f"{sys.executable} -m vocalsep_async credits >&-",
        shell=True,
        env={**os.environ, **account},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert "Traceback" not in ended.stderr
    assert ended.returncode != 0


# A batch


def test_the_summary_has_all_counts() -> None:
    counts = "12 tasks: 11 succeeded, 1 failed; 50 requests, 2 throttled"
    assert summary(snapshot(batch=batch(mean_delay=None), throttled=2)) == counts
    assert summary(snapshot(batch=batch(mean_delay=2.66), throttled=2)) == (
        f"{counts}; detected 2.7 s after completion on average"
    )


def test_the_summary_counts_stems() -> None:
    stems = StemCounts(saved=8, missing=4, tasks=1, reason="stem vocal: no connection")
    shown = snapshot(batch=batch(succeeded=1, failed=1, finished=2, mean_delay=None), stems=stems)
    assert summary(shown) == (
        "2 tasks: 2 succeeded, 0 failed; 8 of 12 stems saved, 4 not: stem vocal: no connection; "
        "50 requests, 0 throttled"
    )
    shown = snapshot(batch=batch(mean_delay=None), stems=StemCounts(saved=1), noun="song")
    assert summary(shown).startswith("12 songs: ")
    assert "1 failed; 1 stem saved; 50 requests" in summary(shown)


def test_the_limit_of_a_report_is_the_default_of_the_client() -> None:
    from inspect import signature

    assert signature(VocalSepClient).parameters["rate_limit"].default == RunOptions().limit


@pytest.mark.anyio
async def test_a_batch_run_ends_with_its_summary(
    provider: FakeProvider, stop: StopSignal, capsys: Captured
) -> None:
    provider.round_trip = 0.0
    provider.script("a", finished("a"))
    activity = Activity()
    run = BatchRun(RunOptions(tasks=["a"]), activity, Output(is_quiet=False), stop)
    async with make_client(on_event=activity) as client:
        assert await run.run(client) is ExitCode.SUCCEEDED
    out, err = capsys.readouterr()
    assert out == "a  SUCCESS  ready: instrumental, vocal\n"
    assert err.startswith("1 task: 1 succeeded, 0 failed; 1 request, 0 throttled")
    assert len(err.splitlines()) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("keeps", [False, True])
async def test_an_interruption_is_reported_with_the_open_tasks_and_advice(
    provider: FakeProvider, stop: StopSignal, capsys: Captured, tmp_path: Path, *, keeps: bool
) -> None:
    provider.round_trip = 0.0
    provider.add("b", 1e6)

    def answer_after_signal() -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return record("a", "GENERATE_AUDIO_FAILED", errorMessage="no")

    provider.script("a", answer_after_signal)
    journal = tmp_path / "batch.journal" if keeps else None
    options = RunOptions(tasks=["a", "b"], journal=journal)
    async with make_client(rate_limit=None) as client:
        run = BatchRun(options, Activity(), Output(is_quiet=True), stop)
        assert await run.run(client) is ExitCode.INTERRUPTED
    advice = f"progress is kept in {journal}: run the same command again to continue"
    err = capsys.readouterr().err
    assert err.startswith("interrupted with ")
    assert err.endswith(f"; {advice if keeps else 'progress is lost without --journal'}\n")


@pytest.mark.anyio
async def test_an_interruption_before_the_start_makes_no_promise(
    provider: FakeProvider, stop: StopSignal, capsys: Captured, tmp_path: Path
) -> None:
    options = RunOptions(tasks=["a", "b"], journal=tmp_path / "batch.journal")
    os.kill(os.getpid(), signal.SIGTERM)
    async with make_client(rate_limit=None) as client:
        run = BatchRun(options, Activity(), Output(is_quiet=True), stop)
        assert await run.run(client) is ExitCode.INTERRUPTED
    assert provider.sent == []
    assert (
        capsys.readouterr().err
        == "interrupted before the batch started; run the same command again\n"
    )


def test_a_report_has_the_command_and_the_host(
    vocalsep_emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = vocalsep_emulator.add_task(duration=0)
    page = tmp_path / "my report.html"
    monkeypatch.setattr(sys, "argv", ["/usr/bin/vocalsep", "track", task_id, "--report", str(page)])
    result = call(vocalsep_emulator, "track", task_id, "--report", page)
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1] == f"report: {page}"
    content = page.read_text("utf-8")
    assert f"vocalsep track {task_id} --report" in content
    assert "127.0.0.1" in content


def test_the_report_of_a_resumed_run_shows_no_detection_of_what_the_journal_restored(
    vocalsep_emulator: Emulator, tmp_path: Path
) -> None:
    task_id = vocalsep_emulator.add_task(duration=0, age=60)
    page = tmp_path / "report.html"
    words = ("track", task_id, "--journal", tmp_path / "journal", "--report", page)
    first = call(vocalsep_emulator, *words)
    assert "<dt>Detected</dt><dd><time" in page.read_text("utf-8")
    second = call(vocalsep_emulator, *words)
    assert (first.exit_code, second.exit_code) == (0, 0)
    content = page.read_text("utf-8")
    assert "<dt>Detected</dt><dd>–</dd>" in content
    assert "No delay is known." in content
    # Before the run, too: this task had ended when it was first polled.
    assert "after completion" not in first.stderr + second.stderr


def test_quiet_hides_the_path_of_the_report(vocalsep_emulator: Emulator, tmp_path: Path) -> None:
    task_id = vocalsep_emulator.add_task(duration=0)
    page = tmp_path / "report.html"
    result = call(vocalsep_emulator, "-q", "track", task_id, "--report", page)
    assert (result.exit_code, result.stderr) == (0, "")
    assert page.exists()


def test_a_report_whose_folder_was_removed_is_one_sentence_after_the_summary(
    vocalsep_emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vocalsep_async.cli import recording

    def gone(_run: object, path: Path, _peaks: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(recording, "write_report", gone)
    task_id = vocalsep_emulator.add_task(duration=0)
    page = tmp_path / "report.html"
    result = call(vocalsep_emulator, "track", task_id, "--report", page)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2
    assert result.stdout.split()[0] == task_id
    summary_line, error_line = result.stderr.splitlines()
    assert summary_line.startswith("1 task: 1 succeeded, 0 failed; ")
    assert error_line == f"{page}: No such file or directory"


# Stems


def test_a_task_without_the_selected_stem_does_not_affect_the_others(
    vocalsep_emulator: Emulator, tmp_path: Path
) -> None:
    vocal = vocalsep_emulator.add_task(duration=0)
    split = vocalsep_emulator.add_task(duration=0, type="split_stem")
    words = (vocal, split, "--to", tmp_path, "--stem", "drums")
    result = call(vocalsep_emulator, "download", *words)
    assert result.exit_code == 1
    assert {line.split()[0] for line in result.stdout.splitlines()} == {vocal, split}
    assert [each.name for each in tmp_path.rglob("*.wav")] == ["drums.wav"]


def test_an_id_with_control_characters_is_refused_and_not_printed_raw(
    vocalsep_emulator: Emulator,
) -> None:
    for command in ("get", "wait"):
        result = call(vocalsep_emulator, command, "\x1b[2J\x07")
        assert_error(result, r"holds the character '\x1b'")
        assert "\x1b" not in result.output
    assert vocalsep_emulator.requests == ()


# Checks of the file system before a run


def test_checking_a_folder_creates_it_with_its_parents_and_leaves_it_empty(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    check_folder(folder)
    check_folder(folder)
    assert list(folder.iterdir()) == []


def test_checking_a_file_creates_only_its_folder(tmp_path: Path) -> None:
    check_file(tmp_path / "a" / "report.html")
    assert list((tmp_path / "a").iterdir()) == []


def test_checking_a_file_does_not_change_it(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("yesterday's")
    check_file(file)
    assert file.read_text() == "yesterday's"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "below, number", [((), errno.EEXIST), (("x",), errno.ENOTDIR), (("x", "y"), errno.ENOTDIR)]
)
def test_a_file_in_the_path_of_a_folder_is_reported(
    tmp_path: Path, below: tuple[str, ...], number: int
) -> None:
    file = tmp_path / "file"
    file.touch()
    place = file.joinpath(*below)
    with pytest.raises(OSError, match="a file is where a folder is needed: name another") as caught:
        check_folder(place)
    assert caught.value.errno == number
    assert caught.value.filename == str(place)
    with pytest.raises(OSError, match="a file is where a folder is needed"):
        check_file(place / "report.html")


def test_a_folder_is_refused_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as caught:
        check_file(tmp_path)
    assert caught.value.filename == str(tmp_path)


def test_an_unwritable_folder_is_reported_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_error(**_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "a temporary name")

    monkeypatch.setattr("tempfile.TemporaryFile", raise_error)
    with pytest.raises(PermissionError) as caught:
        check_folder(tmp_path)
    assert caught.value.filename == str(tmp_path)


def test_a_report_shows_the_command_without_secrets() -> None:
    words = ["track", "an id", "--proxy", "http://user:hush@proxy:8080", "--to=a#b"]
    words += ["--audio-url=https://a.example/b.mp3?sig=hush"]
    assert command_line(words) == (
        "vocalsep track 'an id' --proxy http://proxy:8080 '--to=a#b' "
        "--audio-url=https://a.example/b.mp3"
    )
