"""Callbacks on the command line: `track --callbacks` and the command `callbacks`."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import signal
import socket
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from anyio.lowlevel import checkpoint
from attrs import evolve, fields
from cli.in_process import assert_error, call
from cli.subprocesses import SOON, Run, ended, first_line, started
from emulator.hook import until

from vocalsep_async.cli import callbacks
from vocalsep_async.cli.callbacks import Arrival, Inspector
from vocalsep_async.cli.listening import Verification, counts, listening
from vocalsep_async.cli.output import Output
from vocalsep_async.emulator import CallbackKind, Emulator
from vocalsep_async.emulator.callback_posts import signature_headers
from vocalsep_async.errors import ConfigurationError
from vocalsep_async.webhooks import CallbackUrl, ReceiverStats, parse_callback

KEY, SECRET = "a-webhook-key", "a-secret-of-addresses"
VARIABLES = {"VOCALSEP_WEBHOOK_KEY": KEY, "VOCALSEP_CALLBACK_SECRET": SECRET}


@pytest.fixture
async def emulator(anyio_backend: str) -> AsyncIterator[Emulator]:
    async with Emulator(rate_limit=None, webhook_key=KEY) as emulator:
        yield emulator


@pytest.fixture(params=["track --callbacks {}", "callbacks {}"])
def command(request: pytest.FixtureRequest) -> str:
    line: str = request.param
    return line


class Listening:
    """A command that listens for callbacks."""

    def __init__(self, process: asyncio.subprocess.Process, greeting: str) -> None:
        self.process = process
        self.greeting = greeting
        self.url = next(word for word in greeting.split() if word.startswith("http")).rstrip(";")

    @property
    def address(self) -> str:
        return CallbackUrl(f"{self.url}/hooks", SECRET).url()

    async def end(self, *, given: str = "", number: signal.Signals | None = None) -> Run:
        if number is not None:
            self.process.send_signal(number)
        run = await ended(self.process, given)
        assert SECRET not in run.err + "".join(run.out)
        assert KEY not in run.err + "".join(run.out)
        return run


async def listen(
    emulator: Emulator, *words: str, environ: dict[str, str] | None = None
) -> Listening:
    process = await started(emulator, *words, environ=environ)
    assert process.stderr is not None
    greeting = ""
    async with asyncio.timeout(SOON):
        # After what Python itself may have to say.
        while not greeting.startswith("listening for callbacks on "):
            greeting = (await process.stderr.readline()).decode()
    return Listening(process, greeting)


# Before anything is sent


def test_a_port_in_use_is_one_error_line_before_any_request(
    vocalsep_emulator: Emulator, command: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        words = command.format(server.getsockname()[1]).split()
        ids = ["an-id"] if words[0] == "track" else []
        result = call(vocalsep_emulator, *words, *ids)
        port = server.getsockname()[1]
    assert_error(result, f"cannot listen on port {port}: ", "give another port, or 0 for any")
    assert vocalsep_emulator.requests == ()


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("value", ["", " ", "blank at its end "])
def test_a_variable_that_is_no_secret_is_an_error_that_names_it(
    vocalsep_emulator: Emulator, command: str, variable: str, value: str
) -> None:
    words = [*command.format(0).split(), *(["an-id"] if "track" in command else [])]
    result = call(vocalsep_emulator, *words, environ={variable: value})
    assert_error(result, f"{variable} is ")
    assert vocalsep_emulator.requests == ()


@pytest.mark.parametrize("port", ["-1", "65536", "many"])
def test_a_port_that_is_none_is_wrong_usage(
    vocalsep_emulator: Emulator, command: str, port: str
) -> None:
    assert call(vocalsep_emulator, *command.format(port).split()).exit_code == 2


@pytest.mark.parametrize(
    "given, words",
    [
        ({}, "unverified, and so taken as hints only: set VOCALSEP_WEBHOOK_KEY (signatures of kie"),
        ({"VOCALSEP_WEBHOOK_KEY": KEY}, "verified by their signature"),
        ({"VOCALSEP_CALLBACK_SECRET": SECRET}, "verified by their address"),
        (VARIABLES, "verified by their signature and address"),
    ],
)
def test_how_callbacks_are_verified_follows_from_the_environment_and_is_said(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], words: str
) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    verification = Verification.from_environment()
    assert str(verification).startswith(words)
    assert verification.is_none is (given == {})
    assert KEY not in repr(verification)
    assert SECRET not in repr(verification)


# track


@pytest.mark.anyio
async def test_track_is_woken_by_a_callback_and_counts_what_arrived(emulator: Emulator) -> None:
    command = await listen(emulator, "track", "-", "--callbacks", "0", environ=VARIABLES)
    assert "verified by their signature and address" in command.greeting
    task_id = emulator.add_task(duration=math.inf, callback_url=command.address)
    await poll_of(command, emulator, task_id)
    for kind in (CallbackKind.WRONG_ADDRESS, CallbackKind.UNSIGNED):
        await posted(emulator, task_id, kind)
    emulator.finish(task_id)
    run = await command.end()
    assert run.status == 0
    assert run.out[0].startswith(f"{task_id}  SUCCESS")
    assert run.err.splitlines()[-1] == ("3 callbacks received: 1 woke a wait, 1 unsigned, 1 forged")


@pytest.mark.anyio
async def test_track_prints_what_arrived_as_json(emulator: Emulator) -> None:
    command = await listen(emulator, "-q", "track", "-", "--json", "--callbacks", "0")
    assert "unverified, and so taken as hints only" in command.greeting
    task_id = emulator.add_task(duration=math.inf, callback_url=command.url)
    await poll_of(command, emulator, task_id)
    emulator.finish(task_id)
    outcome, arrived = map(json.loads, (await command.end()).out)
    assert outcome["succeeded"]
    assert (arrived["callbacks"]["received"], arrived["callbacks"]["woke"]) == (1, 1)


def test_track_without_a_callback_says_so(vocalsep_emulator: Emulator) -> None:
    words = ("track", vocalsep_emulator.add_task(duration=0), "--callbacks", "0")
    result, as_json = call(vocalsep_emulator, *words), call(vocalsep_emulator, *words, "--json")
    assert (result.exit_code, as_json.exit_code) == (0, 0)
    assert result.stderr.splitlines()[-1] == "0 callbacks received"
    assert json.loads(as_json.stdout.splitlines()[-1])["callbacks"]["received"] == 0


async def poll_of(command: Listening, emulator: Emulator, task_id: str) -> None:
    """Give a command the id of a task, and wait for its first poll."""
    assert command.process.stdin is not None
    command.process.stdin.write(f"{task_id}\n".encode())
    await until(lambda: bool(emulator.requests))


async def posted(emulator: Emulator, task_id: str, kind: CallbackKind) -> None:
    before = len(emulator.posted)
    emulator.post_callback(task_id, kind)
    await until(lambda: len(emulator.posted) > before)


@pytest.mark.parametrize(
    "stats, line",
    [
        (ReceiverStats(), "0 callbacks received"),
        (ReceiverStats(received=1, woke=1), "1 callback received: 1 woke a wait"),
        (
            ReceiverStats(received=1003, unawaited=1000, malformed=2, stale=1),
            "1,003 callbacks received: 1,000 not waited for, 2 malformed, 1 stale",
        ),
    ],
)
def test_the_counts_of_a_receiver_are_one_line(stats: ReceiverStats, line: str) -> None:
    assert counts(stats) == line


def test_every_counter_of_a_receiver_is_in_the_line() -> None:
    names = [each.name for each in fields(ReceiverStats)]
    line = counts(ReceiverStats(**dict.fromkeys(names, 1)))
    assert line.startswith("1 callback received: ")
    assert line.count("1 ") == len(names)
    assert "1 too large" in line


# callbacks


@pytest.mark.anyio
async def test_callbacks_prints_a_line_each_and_ends_with_the_status_of_an_interruption(
    emulator: Emulator,
) -> None:
    command = await listen(emulator, "callbacks", "0", environ=VARIABLES)
    assert command.greeting.endswith(
        "verified by their signature and address; press Ctrl-C to stop\n"
    )
    task_id = emulator.add_task(duration=math.inf, callback_url=command.address)
    for kind in (CallbackKind.IN_PROGRESS, CallbackKind.WRONG_SIGNATURE, CallbackKind.GENUINE):
        await posted(emulator, task_id, kind)
    run = await command.end(number=signal.SIGINT)
    assert run.status == 130
    progress, forged, genuine = (line.split("  ")[1:] for line in run.out)
    assert progress == [task_id, "202", "PENDING", "verified"]
    assert forged[:3] == [task_id, "200", "SUCCESS"]
    assert forged[3].startswith("not verified: the signature of the callback about task ")
    assert genuine == [task_id, "200", "SUCCESS", "verified"]
    assert [each.http_status for each in emulator.posted] == [200, 401, 200]
    assert emulator.requests == ()


@pytest.mark.anyio
async def test_callbacks_prints_json_without_links() -> None:
    async with Emulator(provider="kie_jobs") as emulator:
        command = await listen(emulator, "callbacks", "0", "--json")
        task_id = emulator.add_task(duration=0, callback_url=command.url)
        (line,) = [json.loads(await first_line(command.process))]
        await command.end(number=signal.SIGTERM)
    assert line["delay"] >= 0
    assert datetime.fromisoformat(line["at"]).tzinfo is UTC
    assert evolve_without(line, "at", "delay") == {
        "task_id": task_id,
        "code": 200,
        "status": "SUCCESS",
        "message": "The job has succeeded.",
        "verified": None,
        "problem": None,
    }


def evolve_without(given: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in names}


AT = datetime(2026, 12, 1, 12, 0, 5, tzinfo=UTC)
JOB = {
    "taskId": "an-id",
    "state": "success",
    "resultJson": '{"data": {"vocal_url": "https://e.com/v"}}',
}


def arrival(completed: timedelta | None = None, **given: Any) -> Arrival:
    data: dict[str, Any] = {"code": 200, "msg": "", "data": JOB}
    event = parse_callback(json.dumps(data))
    at = None if completed is None else AT + completed
    event = evolve(event, task=evolve(event.task, completed_at=at))
    return Arrival(at=AT, **{"event": event, **given})


@pytest.mark.parametrize(
    "given, line",
    [
        (arrival(), "an-id  200  SUCCESS  unverified"),
        (arrival(verified=True), "an-id  200  SUCCESS  verified"),
        (
            arrival(verified=False, problem="it was signed by another key"),
            "an-id  200  SUCCESS  not verified: it was signed by another key",
        ),
        (
            arrival(timedelta(seconds=-1.25), verified=True),
            "an-id  200  SUCCESS  verified  1.2 s after its end",
        ),
        (arrival(timedelta(hours=1)), "an-id  200  SUCCESS  unverified  3,600.0 s before its end"),
        (arrival(event=None, problem="it is not JSON"), "not usable: it is not JSON"),
        (arrival(event=None, problem="it is \x1b[31m"), "not usable: it is \\x1b[31m"),
    ],
)
def test_a_line_says_what_arrived_and_whether_it_can_be_trusted(given: Arrival, line: str) -> None:
    clock, rest = given.line().split("  ", 1)
    assert rest == line
    assert clock == AT.astimezone().strftime("%H:%M:%S")


def test_what_a_sender_wrote_cannot_act_on_the_terminal() -> None:
    event = arrival().event
    assert event is not None
    odd = evolve(event, task_id="a\x1b]0;b\x07", task=evolve(event.task, status="\u202eX"))
    assert Arrival(at=AT, event=odd).line().isprintable()


@pytest.mark.anyio
class TestInspector:
    @pytest.fixture(autouse=True)
    def in_asyncio(self, anyio_backend: str) -> None: ...

    async def answered(self, *requests: dict[str, Any]) -> tuple[list[Arrival], list[int]]:
        arrivals: list[Arrival] = []
        inspector = Inspector(Verification(None, None), arrivals.append)
        async with listening(0, inspector.handle) as url, aiohttp.ClientSession() as session:
            statuses = []
            for each in requests:
                async with session.request(each.pop("method", "POST"), url, **each) as response:
                    statuses.append(response.status)
                    if response.status == 405:
                        assert response.headers["Allow"] == "POST"
        return arrivals, statuses

    async def test_only_a_post_is_a_callback(self) -> None:
        assert await self.answered({"method": "GET"}, {"method": "HEAD"}) == ([], [405, 405])

    async def test_what_is_no_callback_is_answered_as_a_receiver_does(self) -> None:
        arrivals, statuses = await self.answered(
            {"data": b"{"}, *({"data": BytesIO(b"x" * size)} for size in (1 << 20, (1 << 20) + 1))
        )
        assert statuses == [400, 400, 413]
        assert all(each.event is None and each.verified is None for each in arrivals)
        assert arrivals[2].problem == "it has more than 1,048,576 bytes"

    async def test_a_body_that_does_not_come_is_given_up(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(callbacks, "CALLBACK_BODY_PATIENCE", 0.01)

        async def body() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.Event().wait()

        arrivals, statuses = await self.answered({"data": body()})
        assert statuses == [408]
        assert arrivals[0].problem == "its body did not arrive in time"

    async def test_a_body_that_breaks_off_is_said_to(self) -> None:
        arrivals: list[Arrival] = []
        inspector = Inspector(Verification(None, None), arrivals.append)
        async with listening(0, inspector.handle) as url:
            port = int(url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
            await writer.drain()
            writer.close()
            await until(lambda: bool(arrivals))
            assert await reader.read() == b""
        assert arrivals[0].problem == "its body broke off"


ADDRESS = CallbackUrl("http://127.0.0.1", SECRET)
PATH = ADDRESS.url().removeprefix("http://127.0.0.1")
BOTH = Verification(KEY, ADDRESS)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "verification, path, is_signed, words",
    [
        (BOTH, PATH, True, "verified"),
        (BOTH, f"/below{PATH}/?a=b", True, "verified"),
        (BOTH, "/hooks", True, "not verified: the address of the callback contains no token"),
        (BOTH, PATH, False, "not verified: the callback has no X-Webhook-Signature header"),
        (Verification(KEY, None), "/", True, "verified"),
        (Verification(None, ADDRESS), PATH, False, "verified"),
        (Verification(None, None), "/", False, "unverified"),
    ],
)
async def test_a_callback_is_verified_by_all_that_is_known(
    verification: Verification, path: str, *, is_signed: bool, words: str
) -> None:
    headers = signature_headers(KEY, "an-id", time.time()) if is_signed else {}
    arrivals: list[Arrival] = []
    inspector = Inspector(verification, arrivals.append)
    async with listening(0, inspector.handle) as url, aiohttp.ClientSession() as session:
        body = {"code": 200, "msg": "", "data": JOB}
        async with session.post(f"{url}{path}", json=body, headers=headers) as response:
            assert response.status == (401 if words.startswith("not ") else 200)
    assert f"  200  SUCCESS  {words}" in arrivals[0].line()


@pytest.mark.anyio
@pytest.mark.parametrize("as_json", [False, True])
async def test_what_arrives_is_printed_until_the_command_is_cancelled(
    emulator: Emulator, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    shown = asyncio.create_task(callbacks.show_callbacks(0, Output(is_quiet=True), as_json=as_json))
    url = ""
    async with asyncio.timeout(SOON):
        while not url:
            await checkpoint()
            # Said although it is quiet, because the port was not chosen.
            url = "".join(re.findall(r"http://127\.0\.0\.1:\d+", capsys.readouterr().err))
    task_id = emulator.add_task(duration=math.inf, callback_url=url)
    await posted(emulator, task_id, CallbackKind.IN_PROGRESS)
    shown.cancel()
    with pytest.raises(asyncio.CancelledError):
        await shown
    result = capsys.readouterr()
    assert result.err == ""
    (line,) = result.out.splitlines()
    assert (json.loads(line)["task_id"] if as_json else line.split()[1]) == task_id


@pytest.mark.anyio
@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x1b[31m\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \x1b[31m\r\n\r\n",
        b"POST /cb_" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_in_silence(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    arrivals: list[Arrival] = []
    inspector = Inspector(Verification(None, None), arrivals.append)
    async with listening(0, inspector.handle) as url:
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert (await reader.readline()).startswith(b"HTTP/1.0 400 ")
        writer.close()
    assert arrivals == []
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


@pytest.mark.anyio
async def test_a_fault_of_this_program_is_not_silent(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_request: web.BaseRequest) -> web.Response:
        raise RuntimeError("a bug")

    async with (
        listening(0, fail) as url,
        aiohttp.ClientSession() as session,
        session.post(url) as response,
    ):
        assert response.status == 500
    (record,) = (each for each in caplog.records if each.levelno > logging.DEBUG)
    assert record.name.startswith("vocalsep_async.")
    assert "a bug" in str(record.exc_info)


@pytest.mark.anyio
async def test_a_port_is_free_again_after_the_block(anyio_backend: str) -> None:
    inspector = Inspector(Verification(None, None), lambda _: None)
    async with listening(0, inspector.handle) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(ConfigurationError, match=f"^cannot listen on port {port}: "):
            async with listening(port, inspector.handle):
                pass
    async with listening(port, inspector.handle) as again:
        assert again == url
