"""What goes wrong becomes a sentence and a status; a fault of the program is raised."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from cli.commands import KEY
from cli.inside import call, signals_kept

from vocalsep_async import (
    AuthenticationError,
    ConfigurationError,
    RequestTimeoutError,
    TaskTimeoutError,
    TransportError,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async.cli.exits import Exit
from vocalsep_async.cli.options import Settings
from vocalsep_async.cli.running import carry_out
from vocalsep_async.cli.stop import Stop
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
    with signals_kept():
        yield


def status_after(error: BaseException | None, *, debug: bool = False) -> int:
    """What a command ends with whose work raises *error*."""

    async def work(_stop: Stop) -> Exit:
        if error is not None:
            raise error
        return Exit.TIMED_OUT

    with pytest.raises(typer.Exit) as caught:
        carry_out(Settings(debug=debug), work)
    return caught.value.exit_code


Captured = pytest.CaptureFixture[str]


def test_a_command_ends_with_the_status_of_its_work() -> None:
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
def test_what_users_can_mend_is_one_sentence(
    capsys: Captured, error: Exception, status: int, sentence: str
) -> None:
    assert status_after(error) == status
    assert capsys.readouterr() == ("", sentence + "\n")


@pytest.mark.parametrize(
    "error",
    [
        KeyError("a fault"),
        ExceptionGroup("", [VocalSepError("expected"), KeyError("a fault")]),
        ExceptionGroup("", [NOT_THERE, ExceptionGroup("", [KeyError("a fault")])]),
    ],
)
def test_a_fault_of_the_program_is_raised_as_it_is(capsys: Captured, error: Exception) -> None:
    async def work(_stop: Stop) -> Exit:
        raise error

    with pytest.raises(type(error)) as caught:
        carry_out(Settings(), work)
    assert caught.value is error
    assert capsys.readouterr() == ("", "")


def test_a_fault_in_a_command_is_raised_too(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> float:
        raise KeyError("a fault")

    monkeypatch.setattr(VocalSepClient, "get_credits", broken)
    result = call(vocalsep_emulator, "credits")
    assert isinstance(result.exception, KeyError)


def test_a_request_that_got_no_answer_is_not_blamed_on_standard_input(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(*_: object) -> float:
        raise RequestTimeoutError("no answer in 30 s")

    monkeypatch.setattr(VocalSepClient, "get_credits", late)
    result = call(vocalsep_emulator, "credits")
    assert (result.exit_code, result.stderr) == (1, "no answer in 30 s\n")


# --debug


def test_debug_shows_where_an_error_comes_from_and_then_the_sentence(capsys: Captured) -> None:
    assert status_after(TransportError("no connection"), debug=True) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback (most recent call last):\n")
    assert "in work" in shown
    assert shown.endswith("TransportError: no connection\nno connection\n")


def test_debug_shows_links_without_what_signs_them(capsys: Captured) -> None:
    error = TransportError("no connection")
    error.add_note("GET https://cdn.example/v.mp3?sig=CANARY#CANARY and 'http://h/p?CANARY' failed")
    error.__cause__ = OSError("url='https://cdn.example/v.mp3?X-Signature=CANARY&x=y' is dead")
    status_after(error, debug=True)
    shown = capsys.readouterr().err
    assert "CANARY" not in shown
    assert "GET https://cdn.example/v.mp3?… and 'http://h/p?…' failed" in shown
    assert "url='https://cdn.example/v.mp3?…' is dead" in shown


def test_without_debug_nobody_sees_a_traceback(vocalsep_emulator: Emulator) -> None:
    vocalsep_emulator.inject(Fault.UNAUTHORIZED, 2)
    plain = call(vocalsep_emulator, "get", "an-id")
    debugged = call(vocalsep_emulator, "--debug", "get", "an-id")
    assert (plain.exit_code, debugged.exit_code) == (3, 3)
    assert plain.stderr.splitlines() == debugged.stderr.splitlines()[-1:]
    assert "Traceback" in debugged.stderr


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.HTML, Fault.DROPPED])
def test_create_whose_answer_is_lost_says_that_it_may_be_billed(
    vocalsep_emulator: Emulator, fault: Fault
) -> None:
    vocalsep_emulator.inject(fault, 10)
    result = call(vocalsep_emulator, *CREATE)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "may have been created and billed" in result.stderr


# Standard output that takes nothing more


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
def test_a_reader_who_has_gone_gets_no_traceback(vocalsep_emulator: Emulator, command: str) -> None:
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
def test_a_full_disk_is_not_blamed_on_standard_input(
    vocalsep_emulator: Emulator, command: str
) -> None:
    task_id = vocalsep_emulator.add_task(duration=0)
    with open("/dev/full", "w") as full:  # noqa: PTH123
        ended = run(vocalsep_emulator, "-q", command, task_id, stdout=full)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert "No space left on device" in ended.stderr
    assert "standard input" not in ended.stderr


@pytest.mark.skipif(os.name != "posix", reason="a shell that closes descriptors")
def test_a_standard_output_that_is_closed_gets_no_traceback(vocalsep_emulator: Emulator) -> None:
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
