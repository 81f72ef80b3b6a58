"""The token of a callback address stays in the raw record in memory, and appears nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from cli.in_process import call
from fakes import FakeProvider, envelope, make_client
from fault_server import FaultServer
from payloads import TASK_ID, answer, pending, vocals_done
from test_secrets import client_at, texts_of_error
from test_secrets import logged as logged  # noqa: PLC0414 - a fixture
from typer.testing import CliRunner

from vocalsep_async import (
    Event,
    Interval,
    Journal,
    Provider,
    RateLimit,
    SeparationTask,
    TaskRef,
    TaskStatus,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async._journal.codec import packed, unpacked
from vocalsep_async._text import short_url, without_queries, without_tokens
from vocalsep_async.cli import app
from vocalsep_async.cli.run import command_line
from vocalsep_async.emulator import Emulator
from vocalsep_async.providers import COMMON_CODES, KIE_JOBS, SUNOAPI, Request
from vocalsep_async.providers._decoder import Decoder
from vocalsep_async.webhooks import CallbackUrl

BASE = "https://hooks.example/suno"
SECRET = "secret-of-the-tests"
ADDRESSES = {
    "in the path": CallbackUrl(BASE, SECRET).url(),
    "in the path, with a name": CallbackUrl(BASE, SECRET).url("order-17"),
    "in a field": CallbackUrl(BASE, SECRET, field="token").url(),
    "in a field, with a name": CallbackUrl(BASE, SECRET, field="token").url("order-17"),
    "in the path, with a slash": CallbackUrl(BASE, SECRET).url() + "/",
    "in the path, with a query": CallbackUrl(BASE, SECRET).url("order-17") + "?attempt=1",
}
FORMS = pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES)


def part_of(address: str) -> str:
    """The part of *address* that must not be shown."""
    _, _, token = address.partition("cb_")
    signature, _, name = token.rstrip("/").partition("?")[0].partition(".")
    assert len(signature) == 43
    assert name in {"", "b3JkZXItMTc"}
    return signature[:16]


def shows(text: str | bytes, address: str) -> bool:
    content = text.decode("latin-1") if isinstance(text, bytes) else text
    return part_of(address) in content or "b3JkZXItMTc" in content


def decoded(content: dict[str, Any]) -> SeparationTask:
    return Decoder(SUNOAPI).task(TaskRef(TASK_ID), 200, {}, answer(content))


# What one record shows


@FORMS
@pytest.mark.parametrize("name", ["callbackUrl", "callBackUrl", "callback_url", "call_back_url"])
def test_a_record_keeps_the_token_in_raw_alone(address: str, name: str) -> None:
    task = decoded(
        {key: each for key, each in pending().items() if key != "callbackUrl"} | {name: address}
    )
    assert task.raw[name] == address
    assert task.callback_url is not None
    assert task.callback_url.startswith(f"{BASE}/cb_…" if "?token" not in address else BASE)
    without_raw = {**attrs.asdict(task), "raw": None}
    assert not shows(f"{task!r} {task} {without_raw}", address)


@FORMS
@pytest.mark.parametrize("name", ["successFlag", "musicId", "audioId", "type", "errorCode"])
def test_a_record_keeps_the_token_in_raw_alone_whatever_repeats_it(address: str, name: str) -> None:
    task = decoded(pending(**{name: address}))
    assert task.raw[name] == address
    assert not shows(f"{task!r} {task.reason} { {**attrs.asdict(task), 'raw': None} }", address)


@FORMS
def test_a_track_masks_the_token_in_its_name(address: str) -> None:
    track = {"stem_type_group_name": address, "audio_url": "https://a.example/b.mp3", "id": address}
    task = decoded(vocals_done(response={"originData": [track]}))
    assert not shows(repr(task.origin_tracks), address)


@FORMS
def test_the_repr_of_a_record_of_a_user_masks_the_token(address: str) -> None:
    task = SeparationTask(task_id="a", status=TaskStatus.PENDING, callback_url=address)
    assert not shows(repr(task), address)
    assert "hooks.example" in repr(task)


def test_an_address_that_was_made_elsewhere_stays_as_it_is() -> None:
    for address in (
        f"{BASE}/my-own-hook",
        f"{BASE}/cb_short",
        f"{BASE}/cb_{'a' * 50}?x=1",
        "nowhere",
    ):
        assert decoded(pending(callbackUrl=address)).callback_url == address


@FORMS
@pytest.mark.parametrize(
    "message",
    [
        "could not call {}",
        "could not call {}, sorry",
        "could not call '{}'",
        "callback: {}",
        '{{"callBackUrl":"{}"}}',
    ],
)
def test_the_words_of_the_server_lose_the_token(address: str, message: str) -> None:
    words = message.format(address)
    for said in (words, json.dumps(words), json.dumps(json.dumps({"said": words}))):
        task = decoded(vocals_done(errorMessage=said, errorCode=said))
        assert not shows(f"{task.error_message} {task.error_code}", address)


def test_the_words_of_the_server_lose_a_token_that_was_cut() -> None:
    address = ADDRESSES["in the path"]
    for end in range(address.index("cb_") + 3 + 16, len(address)):
        assert not shows(without_queries(f"cannot call {address[:end]}"), address)


@pytest.mark.parametrize("quoted", ["{}%2Fcb_{}", "{}%252Fcb_{}", "{}%3Dcb_{}", r"{}\/cb_{}"])
def test_a_token_within_another_link_is_masked(quoted: str) -> None:
    token = ADDRESSES["in the path"].partition("cb_")[2]
    text = quoted.format("https://relay.example/to?u=https%3A%2F%2Fhooks.example", token)
    assert not shows(without_tokens(text), ADDRESSES["in the path"])


def test_letters_within_a_signature_are_no_token() -> None:
    signed = f"https://files.example/v.mp3?Signature=abc-cb_{'A' * 43}&x=1"
    assert without_tokens(signed) == signed
    assert short_url("https://files.example/cb_vocals.mp3") == "<files.example/…/cb_vocals.mp3>"


# What is written


def job_record(address: str) -> dict[str, Any]:
    asked = {"audio_url": "https://a.example/s.mp3", "type": "separate_vocal"}
    body = {"model": "m", "callBackUrl": address, "input": json.dumps(asked)}
    return {"taskId": TASK_ID, "state": "success", "param": json.dumps(body), "resultJson": ""}


@FORMS
@pytest.mark.parametrize("make", [lambda address: pending(callbackUrl=address), job_record])
def test_a_packed_record_masks_the_token(
    address: str, make: Callable[[str], dict[str, Any]]
) -> None:
    content = make(address)
    for keep_links in (False, True):
        kept = unpacked(packed(content, keep_links=keep_links))
        assert kept.keys() == content.keys()
        assert not shows(json.dumps(kept), address)
        if "param" in content:
            assert json.loads(kept["param"])["model"] == "m"


@FORMS
@pytest.mark.parametrize("provider", [SUNOAPI, KIE_JOBS], ids=lambda each: str(each.name))
@pytest.mark.anyio
async def test_a_batch_writes_and_shows_no_token(
    address: str, provider: Any, tmp_path: Path, logged: Callable[[], str]
) -> None:
    events: list[Event] = []
    journal = Journal(tmp_path / "journal", keep_links=True)
    async with (
        Emulator(provider=provider.name, speed=5_000) as emulator,
        VocalSepClient(
            "key",
            base_url=emulator.url,
            provider=provider,
            rate_limit=RateLimit(1_000, 1.0),
            poll=Interval(0.02),
            on_event=events.append,
            allow_private_hosts=True,
        ) as client,
        journal,
    ):
        ref = await client.create_task(
            callback_url=address, audio_url="https://a.example/a.mp3", journal=journal
        )
        async with client.track([ref], journal=journal, download_to=tmp_path / "stems") as batch:
            outcomes = [outcome async for outcome in batch]
    (outcome,) = outcomes
    assert outcome.succeeded
    assert outcome.task is not None
    # The provider did repeat it.
    assert shows(json.dumps(outcome.task.raw), address)
    shown = [repr(events), repr(outcome), repr(outcome.to_dict(keep_links=True)), logged()]
    assert not [each for each in shown if shows(each, address)]
    # The record in the journal is compressed.
    async with Journal(tmp_path / "journal") as again:
        rows = again._file._open_store().ended(0, 10)
    assert not [row for row in rows if shows(repr(unpacked(row.record or b"")), address)]
    files = files_in(tmp_path)
    assert {"journal", "manifest.json"} <= {path.name for path in files}
    assert not [path for path, content in files.items() if shows(content, address)]
    (manifest,) = (content for path, content in files.items() if path.name == "manifest.json")
    assert json.loads(manifest)["record"].keys() == outcome.task.raw.keys()


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@FORMS
@pytest.mark.anyio
async def test_an_error_that_repeats_the_address_shows_no_token(
    address: str, tmp_path: Path, provider: FakeProvider, logged: Callable[[], str]
) -> None:
    events: list[Event] = []
    path = tmp_path / "journal"
    for code in (400, 500):
        words = f"cannot call {address} or {address[:-5]}"
        provider.script("/api/v1/vocal-removal/generate", envelope(code, words))
        provider.reopen()
        async with make_client(on_event=events.append) as client:
            with pytest.raises(VocalSepError, match="cannot call https://hooks") as caught:
                await client.create_task(
                    callback_url=address, audio_url="https://a.example/a.mp3", journal=path
                )
        error = caught.value
        assert not shows(f"{error} {error!r} {vars(error)}", address)
    async with Journal(path) as journal:
        intents = await journal.intents()
    assert len(intents) == 1
    assert not shows(repr(intents) + repr(events) + logged(), address)
    assert not shows(path.read_bytes(), address)


@FORMS
@pytest.mark.parametrize("provider", [SUNOAPI, KIE_JOBS], ids=lambda each: str(each.name))
@pytest.mark.parametrize("fault", ["rst_before", "half_body_fin", "black_hole", "html502"])
@pytest.mark.anyio
async def test_the_frames_of_a_failed_creation_show_no_token(
    address: str, provider: Any, fault: str
) -> None:
    with FaultServer() as server:
        async with client_at(f"{server.url}/{fault}", provider=provider) as client:
            with pytest.raises(VocalSepError) as caught:
                await client.create_task(callback_url=address, audio_url="https://a.example/a.mp3")
            # The black hole may be given up before it has read the request.
            assert fault == "black_hole" or shows(server.seen[0].body, address)
            assert not [text for text in texts_of_error(caught.value) if shows(text, address)]


class Wrapping(Provider):
    """A provider that sends the address within JSON that escapes slashes."""

    def creation_request(self, *, callback_url: str | None, **_song: Any) -> Request:
        inner = json.dumps({"hook": callback_url}).replace("/", r"\/")
        return Request("POST", self.creation_path, json={"input": inner, "kind": "vocals"})


@FORMS
@pytest.mark.anyio
async def test_an_intent_shows_no_token_that_a_provider_wrapped(
    address: str, tmp_path: Path, provider: FakeProvider
) -> None:
    provider.script("/api/v1/vocal-removal/generate", envelope(500, "no"))
    wrapping = Wrapping(name="wrapping", codes=COMMON_CODES, credits_path="/")
    path = tmp_path / "journal"
    async with make_client(provider=wrapping, base_url="https://api.example") as client:
        with pytest.raises(VocalSepError):
            await client.create_task(
                callback_url=address, audio_url="https://a.example/a.mp3", journal=path
            )
    async with Journal(path) as journal:
        (intent,) = await journal.intents()
    assert intent.request["kind"] == "vocals"
    assert not shows(repr(intent), address)


# What the command line shows


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    return {"rate_limit": None, "speed": 1_000}


@FORMS
def test_the_command_line_shows_no_token(
    address: str, tmp_path: Path, vocalsep_emulator: Emulator
) -> None:
    journal, report = str(tmp_path / "journal"), str(tmp_path / "report.html")
    song = ("--audio-url", "https://a.example/a.mp3")
    run = partial(call, vocalsep_emulator, environ={"VOCALSEP_LOG": "debug"})
    created = run("create", *song, "--callback-url", address, "--journal", journal)
    assert created.exit_code == 0
    (task_id,) = vocalsep_emulator.tasks
    vocalsep_emulator.fail(task_id, message=f"could not call {address}")
    results = [
        created,
        run("get", task_id),
        run("get", task_id, "--json"),
        run("wait", task_id, "--json"),
        run("track", task_id, "--json", "--report", report, "--journal", journal),
        run("journal", "export", journal),
        run("journal", "show", journal),
    ]
    assert [each.exit_code for each in results[-2:]] == [0, 0]
    assert sum("could not call" in each.output for each in results) >= 5
    assert not [each.output for each in results if shows(each.output, address)]
    files = files_in(tmp_path)
    assert b"could not call" in files[Path(report)]
    assert not [path for path, content in files.items() if shows(content, address)]


def test_the_command_of_a_report_shows_no_token() -> None:
    address = ADDRESSES["in the path, with a name"]
    shown = command_line(["create", "--callback-url", address, f"--callback-url={address}"])
    assert "--callback-url" in shown
    assert not shows(shown, address)


def test_a_mistyped_command_shows_no_token() -> None:
    address = ADDRESSES["in the path, with a name"]
    result = CliRunner().invoke(app, [address])
    assert result.exit_code == 2
    assert "hooks.example" in result.stderr
    assert not shows(result.output, address)
