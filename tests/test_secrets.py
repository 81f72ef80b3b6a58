"""API keys, proxy passwords and signed queries never appear in output, even after failures.

The tests search for a unique key, in plain text and encoded, in every repr, log record, traceback
and pickle of a client, its results and its errors.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import logging
import os
import pickle
import secrets
import subprocess
import sys
import traceback
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import anyio
import attrs
import cattrs
import pytest
from fault_server import SIGNATURE, FaultServer, envelope, record
from hypothesis import given, settings
from hypothesis import strategies as st

from vocalsep_async import (
    ConfigurationError,
    DecodeError,
    Interval,
    RateLimit,
    RetryPolicy,
    SeparationTask,
    TaskRef,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async._transport.secrets import ApiKey
from vocalsep_async.emulator import Emulator
from vocalsep_async.providers import SUNOAPI
from vocalsep_async.providers._decoder import Decoder

pytestmark = pytest.mark.anyio

CANARY = f"sk-CANARY/{secrets.token_hex(8)}+"
PASSWORD = f"pass-{secrets.token_hex(8)}"
TESTS = str(Path(__file__).parent)

Call = Callable[[VocalSepClient], Awaitable[object]]


def encodings(secret: str) -> list[str]:
    """The secret in plain text, quoted for a URL, and in base64 at each of the three offsets."""
    found = [secret, secret.upper(), quote(secret, safe="")]
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + secret.encode()).decode()
        # The first and last characters depend on the neighbouring bytes.
        found.append(encoded[4 if offset else 0 : -4])
    return found


def contains(text: str | bytes, secret: str = CANARY) -> bool:
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    return any(form in text for form in encodings(secret))


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as other, FaultServer(elsewhere=other.url) as server:
        yield server
        assert other.seen == []


def client_at(url: str, **options: Any) -> VocalSepClient:
    defaults: dict[str, Any] = {
        "rate_limit": RateLimit(1000, 0.01),
        "retry": RetryPolicy(attempts=2, initial=0.001, maximum=0.001),
        "poll": Interval(0.001),
        "request_timeout": 0.3,
    }
    return VocalSepClient(CANARY, base_url=url, **(defaults | options))


# Every text that an object can be rendered to


def texts_of(value: object) -> Iterator[str]:
    """Every text that printing and inspecting *value* yields."""
    yield from (repr(value), str(value), f"{value}", f"{value!r:>5}", ascii(value))
    yield from texts_inside(value, set())


def texts_inside(value: object, visited: set[int]) -> Iterator[str]:
    if id(value) in visited or isinstance(value, (type, asyncio.AbstractEventLoop)):
        return
    visited.add(id(value))
    if attrs.has(type(value)):
        yield repr(attrs.asdict(value, recurse=True))  # type: ignore[arg-type]
    for name, inner in getattr(value, "__dict__", {}).items():
        yield f"{name}={inner!r}"
        yield from texts_inside(inner, visited)


def texts_of_error(error: BaseException) -> Iterator[str]:
    """Every text of *error*: notes, causes, groups, and locals except those of test frames."""
    yield from (repr(error), str(error), repr(error.args), repr(error.__dict__))
    yield from getattr(error, "__notes__", ())
    yield "".join(traceback.format_exception(error))
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    for frame in report.stack:
        if not frame.filename.startswith(TESTS):
            yield repr(frame.locals)
    inner = [error.__cause__, error.__context__, *getattr(error, "exceptions", ())]
    for each in inner:
        if each is not None:
            yield from texts_of_error(each)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """The text of every log record, at any level and of any logger, and of every warning."""
    caplog.set_level(logging.DEBUG)
    for name in ("vocalsep_async", "aiohttp.client", "aiohttp.internal", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield lambda: "\n".join(
            [
                *(f"{each.getMessage()} {each.__dict__!r}" for each in caplog.records),
                caplog.text,
                *(str(each.message) for each in caught),
            ]
        )


async def get_task(client: VocalSepClient) -> object:
    return await client.get_task("task-1")


async def wait_for_task(client: VocalSepClient) -> object:
    return await client.wait_for_task("task-1", timeout=0.1)


async def wait_for_tasks(client: VocalSepClient) -> object:
    outcomes = await client.wait_for_tasks(["task-1", "task-2"], timeout=0.1)
    return outcomes["task-1"].result()


async def create_task(client: VocalSepClient) -> object:
    return await client.create_task(
        callback_url="https://callback.example/", audio_url="https://a.example/a.mp3"
    )


async def get_credits(client: VocalSepClient) -> object:
    return await client.get_credits()


CALLS: list[Call] = [get_task, wait_for_task, wait_for_tasks, create_task, get_credits]
FAULTS = {
    "connection reset": "rst_before",
    "connection closed": "fin_before",
    "truncated headers": "fin_mid_headers",
    "truncated body": "half_body_fin",
    "no answer": "black_hole",
    "not HTTP": "garbage",
    "too large": "huge_json",
    "a web page": "html200",
    "an error as a web page": "html502",
    "a redirect to another host": "redirect_302_elsewhere",
    "a redirect that keeps the method": "redirect_307_elsewhere",
    "rate limited": "st430",
    "a JSON array": "json_array",
    "the key in message and headers": "echo_key",
    "the key in a web page": "echo_key_as_html",
    "the key as the whole body": "echo_key_unreadable",
    "the key encoded, and in the headers that are used": "echo_key_encoded",
}


async def error_or_none(call: Awaitable[object]) -> BaseException | None:
    try:
        await call
    except BaseException as error:  # noqa: BLE001 - every exception is examined
        return error
    return None


# The API key


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
@pytest.mark.parametrize("fault", [pytest.param(f, id=name) for name, f in FAULTS.items()])
async def test_no_failure_shows_the_key(
    server: FaultServer, fault: str, call: Call, logged: Callable[[], str]
) -> None:
    async with client_at(f"{server.url}/{fault}") as client:
        error = await error_or_none(call(client))
        assert isinstance(error, VocalSepError)
        assert not [text for text in texts_of_error(error) if contains(text)]
        assert not [text for text in texts_of(client) if contains(text)]
    for each in (error, pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert not contains(pickle.dumps(each))
        assert not contains(repr(each) + str(each))
    assert not contains(logged())


async def test_the_client_sends_the_key_in_the_authorization_header_only(
    server: FaultServer,
) -> None:
    async with client_at(f"{server.url}/healthy") as client:
        for call in CALLS:
            await call(client)
    for seen in server.seen:
        assert seen.headers["authorization"] == f"Bearer {CANARY}"
        rest = {**seen.headers, "authorization": ""}
        assert not contains(repr(rest) + seen.target)
        assert not contains(seen.body)


async def test_the_client_sends_the_key_of_the_environment(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOCALSEP_API_KEY", CANARY)
    monkeypatch.setenv("VOCALSEP_BASE_URL", f"{server.url}/healthy")
    async with VocalSepClient() as client:
        await client.get_task("task-1")
    assert [seen.headers["authorization"] for seen in server.seen] == [f"Bearer {CANARY}"]


async def test_a_result_masks_a_key_that_the_server_repeats(server: FaultServer) -> None:
    async with client_at(f"{server.url}/echo_key_in_record") as client:
        task = await client.get_task("task-1")
    assert task.error_message == "upstream refused <API key>"
    assert not contains(repr(task.raw))
    assert not contains(pickle.dumps(task))
    assert not [text for text in texts_of(task) if contains(text)]
    with pytest.raises(VocalSepError) as caught:
        task.raise_for_failure()
    assert not [text for text in texts_of_error(caught.value) if contains(text)]


DUMPS: list[Callable[[object], object]] = [
    pickle.dumps,
    copy.copy,
    copy.deepcopy,
    vars,
    cattrs.Converter().unstructure,
]


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.__name__)
async def test_a_client_cannot_be_dumped_with_its_key(
    server: FaultServer, dump: Callable[[object], object]
) -> None:
    texts: list[str] = []
    dumped: list[object] = []
    async with client_at(f"{server.url}/healthy") as client:
        await client.get_task("task-1")
        engine = client._engine
        parts = (engine.transport, engine.sender, engine.routes, engine.poller)
        for value in (client, client._setup, engine, *parts):
            try:
                dumped.append(dump(value))
            except Exception as error:  # noqa: BLE001 - failing is allowed, showing the key is not
                texts += texts_of_error(error)
    for each in dumped:
        texts += texts_of(each)
    assert texts
    assert not [text for text in texts if contains(text)]


@pytest.mark.parametrize("dump", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_key_cannot_be_pickled_or_copied(dump: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="not pickled or copied"):
        dump(ApiKey(CANARY))


@pytest.mark.parametrize("ending", ["\n", "\r\nX-Injected: 1", " ", "é"])
def test_the_check_of_an_invalid_key_keeps_it_out_of_its_frames(ending: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ApiKey(CANARY + ending)
    assert not [text for text in texts_of_error(caught.value) if contains(text)]


WRONG_SET_UPS: dict[str, Callable[[], object]] = {
    "an invalid key": lambda: VocalSepClient(f"{CANARY}\n"),
    "an invalid base URL": lambda: VocalSepClient(CANARY, base_url="nonsense"),
    "an invalid option of from_env": lambda: VocalSepClient.from_env(
        {"VOCALSEP_API_KEY": CANARY}, request_timeout=-1
    ),
}


@pytest.mark.parametrize("make", WRONG_SET_UPS.values(), ids=WRONG_SET_UPS)
def test_the_frames_of_a_failed_client_set_up_do_not_show_the_key(
    make: Callable[[], object],
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert not [text for text in texts_of_error(caught.value) if contains(text)]


@pytest.mark.parametrize("make", WRONG_SET_UPS.values(), ids=WRONG_SET_UPS)
def test_the_message_of_a_failed_client_set_up_does_not_show_the_key(
    make: Callable[[], object],
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert not contains(repr(caught.value) + str(caught.value))


RENDERED = [
    "VocalSepClient.__init__(self",
    "VocalSepClient.from_env(environ",
    "Emulator.add_task(self",
    "Library Documentation: package vocalsep_async\n",
    "Library Documentation: package vocalsep_async.emulator",
    "Library Documentation: module vocalsep_async.client",
    " |  from_env(",  # from Python 3.13 on, its arguments are on lines of their own
    "<VocalSepClient of api.sunoapi.org",
    "request_timeout must be",
]
"""One fragment of each kind of text that the program renders."""


def test_no_signature_help_page_repr_or_traceback_shows_the_environment() -> None:
    program = Path(__file__).with_name("rendering_program.py")
    secret = {"VOCALSEP_API_KEY": CANARY, "ANOTHER_PASSWORD": PASSWORD}
    run = subprocess.run(
        [sys.executable, "-X", "utf8", str(program)],
        env={**os.environ, **secret},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert not [part for part in RENDERED if part not in run.stdout]
    secret_forms = [*encodings(CANARY), *encodings(PASSWORD)]
    lines = (run.stdout + run.stderr).splitlines()
    # Shortened, because such a line would show the environment in which the tests run.
    assert not [line[:80] for line in lines if any(form in line for form in secret_forms)]


ENVIRONMENTS: dict[str, dict[str, str]] = {
    "no key": {},
    "a blank key": {"VOCALSEP_API_KEY": " "},
    "an invalid key": {"VOCALSEP_API_KEY": f"{CANARY}\n"},
    "a blank base URL": {"VOCALSEP_API_KEY": CANARY, "VOCALSEP_BASE_URL": ""},
    "an invalid base URL": {"VOCALSEP_API_KEY": CANARY, "VOCALSEP_BASE_URL": "nonsense"},
}


@pytest.mark.parametrize("environ", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
@pytest.mark.parametrize("make", [VocalSepClient, VocalSepClient.from_env])
def test_the_traceback_of_an_unusable_environment_shows_no_secret(
    make: Callable[[], VocalSepClient], environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**environ, "ANOTHER_PASSWORD": PASSWORD}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        make()
    texts = list(texts_of_error(caught.value))
    assert not any(contains(text, CANARY) or contains(text, PASSWORD) for text in texts)


@pytest.mark.parametrize("environ", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_the_traceback_of_an_unusable_mapping_shows_no_secret(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        VocalSepClient.from_env({**environ, "ANOTHER_PASSWORD": PASSWORD})
    texts = list(texts_of_error(caught.value))
    assert not any(contains(text, CANARY) or contains(text, PASSWORD) for text in texts)


async def cancelled_in(client: VocalSepClient, server: FaultServer, call: Call) -> BaseException:
    """The cancellation of a running request, with the frames of aiohttp in its traceback."""
    caught: list[BaseException] = []

    async def run() -> None:
        error = await error_or_none(call(client))
        assert error is not None
        caught.append(error)

    hits = server.hits
    task = asyncio.ensure_future(run())
    await anyio.to_thread.run_sync(server.wait_for_hits, hits + 1)
    assert not contains(repr(asyncio.all_tasks()))
    task.cancel()
    await task
    return caught[0]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
async def test_the_frames_of_a_cancelled_request_do_not_show_the_key(
    server: FaultServer, call: Call
) -> None:
    async with client_at(f"{server.url}/black_hole", request_timeout=30.0) as client:
        error = await cancelled_in(client, server, call)
    assert isinstance(error, asyncio.CancelledError)
    assert not [text for text in texts_of_error(error) if contains(text)]


async def test_an_error_raised_by_a_tracing_hook_does_not_show_the_key(server: FaultServer) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("mine")

    traces = aiohttp.TraceConfig()
    traces.on_request_headers_sent.append(fail)
    async with client_at(f"{server.url}/healthy", trace_configs=[traces]) as client:
        error = await error_or_none(client.get_task("task-1"))
    assert repr(error) == "RuntimeError('mine')"
    assert isinstance(error, RuntimeError)
    assert not [text for text in texts_of_error(error) if contains(text)]


async def test_the_arguments_of_tracing_hooks_do_not_show_the_key(
    server: FaultServer,
) -> None:
    texts: list[str] = []

    async def render(session: object, context: object, params: Any) -> None:
        values = [params, *vars(params).values()] if hasattr(params, "__dict__") else [params]
        if attrs.has(type(params)):
            values += [getattr(params, each.name) for each in attrs.fields(type(params))]
        texts.extend(map(repr, values))
        texts.append(repr(getattr(params, "headers", None)))
        if (response := getattr(params, "response", None)) is not None:
            texts.append(repr(response.request_info))
            texts.append(repr(response.request_info.headers))

    traces = aiohttp.TraceConfig()
    for name in dir(traces):
        if name.startswith("on_"):
            getattr(traces, name).append(render)
    async with client_at(f"{server.url}/once-fin_before", trace_configs=[traces]) as client:
        await client.get_task("task-1")
    assert any("Authorization" in text for text in texts)
    assert not [text for text in texts if contains(text)]


# Generated keys


class LogCapture(logging.Handler):
    """Records everything that is logged inside its block."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(f"{record.getMessage()} {record.__dict__!r}")

    def __enter__(self) -> Self:
        root = logging.getLogger()
        self._level = root.level
        root.setLevel(logging.DEBUG)
        root.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self._level)


async def texts_of_all_calls(url: str, key: str) -> list[str]:
    """Every text of the results and errors of the public calls of a client with *key*."""
    texts: list[str] = []
    try:
        client = VocalSepClient.from_env(
            {"VOCALSEP_API_KEY": key},
            base_url=url,
            rate_limit=RateLimit(1000, 0.01),
            retry=RetryPolicy(attempts=2, initial=0.001, maximum=0.001),
            poll=Interval(0.001),
        )
    except ConfigurationError as error:
        return [*texts_of_error(error), pickle.dumps(error).decode("latin-1")]
    async with client:
        for call in CALLS:
            try:
                value = await call(client)
            except VocalSepError as error:
                texts += [*texts_of_error(error), pickle.dumps(error).decode("latin-1")]
            else:
                texts += [*texts_of(value), pickle.dumps(value).decode("latin-1")]
        texts += [*texts_of(client), *texts_of(client.stats), *texts_of(client.durations)]
    return [*texts, *texts_of_error(await error_of(get_task(client)))]


async def error_of(call: Awaitable[object]) -> BaseException:
    error = await error_or_none(call)
    assert error is not None
    return error


@pytest.fixture(scope="module")
def lasting_server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


AFFIXES = st.text(st.characters(min_codepoint=33, max_codepoint=126)) | st.text()
FAST_FAULTS = ["healthy", "fin_before", "html502", "body430", "st401", "json_array"]


@settings(max_examples=settings().max_examples // 5)
@given(before=AFFIXES, after=AFFIXES, fault=st.sampled_from(FAST_FAULTS))
def test_no_call_shows_a_generated_key(
    lasting_server: FaultServer, before: str, after: str, fault: str
) -> None:
    key = before + CANARY + after
    with LogCapture() as capture:
        texts = asyncio.run(texts_of_all_calls(f"{lasting_server.url}/{fault}", key))
    assert not [text for text in texts + capture.records if contains(text)]


PRINTABLE_AFFIXES = st.text(st.characters(min_codepoint=33, max_codepoint=126))
ECHOES = [fault for fault in FAULTS.values() if fault.startswith("echo_key")]


@settings(max_examples=settings().max_examples // 5)
@given(
    before=PRINTABLE_AFFIXES,
    after=PRINTABLE_AFFIXES,
    fault=st.sampled_from([*ECHOES, "echo_key_in_record"]),
)
def test_no_call_shows_a_generated_key_that_the_server_repeats(
    lasting_server: FaultServer, before: str, after: str, fault: str
) -> None:
    key = before + CANARY + after
    with LogCapture() as capture:
        texts = asyncio.run(texts_of_all_calls(f"{lasting_server.url}/{fault}", key))
    assert not [text for text in texts + capture.records if contains(text)]


@given(before=AFFIXES, after=AFFIXES, option=st.sampled_from(["api_key", "webhook_key"]))
def test_an_emulator_does_not_show_its_keys(before: str, after: str, option: str) -> None:
    try:
        emulator = Emulator(**{option: before + CANARY + after})  # type: ignore[arg-type]
    except ConfigurationError as error:
        texts = list(texts_of_error(error))
    else:
        texts = [repr(emulator), str(emulator)]
    assert not [text for text in texts if contains(text)]


# Passwords of proxies


@pytest.fixture(params=["an argument", "the environment"])
def through_proxy(
    request: pytest.FixtureRequest, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Options of a client that reaches the server through a proxy with a login."""
    proxy = server.url.replace("//", f"//user:{PASSWORD}@")
    if request.param == "an argument":
        return {"proxy": proxy}
    for name in ("NO_PROXY", "no_proxy", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, proxy)
    return {"trust_env": True}


@pytest.mark.parametrize("url", ["http://api.invalid/black_hole", "https://black_hole.invalid"])
async def test_the_frames_of_a_cancelled_request_do_not_show_the_proxys_password(
    server: FaultServer, url: str, through_proxy: dict[str, Any]
) -> None:
    async with client_at(url, **through_proxy, request_timeout=30.0) as client:
        error = await cancelled_in(client, server, get_task)
        assert not [text for text in texts_of(client) if contains(text, PASSWORD)]
    assert not [text for text in texts_of_error(error) if contains(text, PASSWORD)]
    assert contains(server.seen[0].head, f"user:{PASSWORD}")


@pytest.mark.parametrize("fault", ["proxy407", "fin_before", "black_hole", "html502"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_failure_shows_the_proxys_password(
    scheme: str, fault: str, logged: Callable[[], str], through_proxy: dict[str, Any]
) -> None:
    url = "http://api.invalid/" + fault if scheme == "http" else f"https://{fault}.invalid"
    async with client_at(url, **through_proxy) as client:
        error = await error_or_none(client.get_task("task-1"))
    assert isinstance(error, VocalSepError)
    assert not [text for text in texts_of_error(error) if contains(text, PASSWORD)]
    assert not contains(pickle.dumps(error), PASSWORD)
    assert not contains(logged(), PASSWORD)


@pytest.mark.parametrize("option", ["base_url", "proxy"])
def test_an_invalid_url_is_refused_without_showing_its_password(option: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        VocalSepClient("sk-other-key", **{option: f"ftp://user:{PASSWORD}@host.example"})  # type: ignore[arg-type]
    assert not contains(repr(caught.value), PASSWORD)


# Signed links

FAULTS_WITH_LINKS = [
    "half_body_fin",
    "truncated_json",
    "two_docs",
    "nan",
    "bad_utf8",
    "link_in_a_list",
]


@pytest.mark.parametrize("fault", [*FAULTS_WITH_LINKS, "redirect_302_elsewhere", "json_array"])
async def test_no_error_shows_the_signature_of_a_link(
    server: FaultServer, fault: str, logged: Callable[[], str]
) -> None:
    async with client_at(f"{server.url}/{fault}") as client:
        error = await error_or_none(client.get_task("task-1"))
    assert isinstance(error, VocalSepError)
    assert SIGNATURE not in "".join(traceback.format_exception(error))
    assert not [text for text in texts_of_error(error) if SIGNATURE in text]
    assert SIGNATURE not in repr(error) + repr(error.args) + repr(error.__dict__)
    assert SIGNATURE not in logged()


async def test_a_result_shows_links_without_their_signatures(
    server: FaultServer, logged: Callable[[], str]
) -> None:
    async with client_at(f"{server.url}/pending_twice") as client:
        seen: list[SeparationTask] = []
        task = await client.wait_for_task("task-1", on_update=seen.append)
        outcomes = await client.wait_for_tasks(["task-1"])
    assert SIGNATURE in str(task.stems.vocal)
    for value in (task, task.stems, seen, outcomes, client):
        assert SIGNATURE not in f"{value} {value!r}"
    assert SIGNATURE not in logged()


# Text of the server

LONG = "said by the server, " * 500
MISMATCHED: dict[str, object] = {
    "data as text": LONG,
    "data as a list": [LONG],
    "an id in a list": record(taskId=[LONG]),
    "the id of another task": record(taskId=LONG),
    "a status in a list": record(successFlag=[LONG]),
    "a status in an object": record(successFlag={LONG: LONG}),
    "a stem in an object": record(response={"vocalUrl": {LONG: LONG}}),
    "a track in a list": record(response={"originData": [{"audio_url": [LONG]}]}),
}


@pytest.mark.parametrize("data", MISMATCHED.values(), ids=MISMATCHED)
def test_the_traceback_of_a_mismatched_record_quotes_none_of_it(data: object) -> None:
    with pytest.raises(DecodeError) as caught:
        Decoder(SUNOAPI).task(TaskRef("task-1"), 200, {}, envelope(data=data))
    assert "said by" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("read", [Decoder.created, Decoder.credits], ids=lambda read: read.__name__)
@pytest.mark.parametrize("data", [LONG, [LONG], {"taskId": [LONG]}, {"taskId": LONG}])
def test_the_traceback_of_a_mismatched_answer_quotes_none_of_it(
    data: object, read: Callable[..., object]
) -> None:
    with pytest.raises(DecodeError) as caught:
        read(Decoder(SUNOAPI), 200, {}, envelope(data=data))
    assert "said by" not in "".join(traceback.format_exception(caught.value))


LONG_TEXTS: dict[str, bytes] = {
    "an unknown status": envelope(data=record(successFlag=LONG, completeTime=None, response=None)),
    "an error message": envelope(data=record(status="GENERATE_AUDIO_FAILED", errorMessage=LONG)),
    "an error code": envelope(data=record(status="GENERATE_AUDIO_FAILED", errorCode=LONG)),
    "a message in the envelope": envelope(400, LONG),
}


@pytest.mark.parametrize("body", LONG_TEXTS.values(), ids=LONG_TEXTS)
def test_a_traceback_shortens_long_texts_of_the_server(body: bytes) -> None:
    with pytest.raises(VocalSepError) as caught:
        Decoder(SUNOAPI).task(TaskRef("task-1"), 200, {}, body).raise_for_failure()
    text = "".join(traceback.format_exception(caught.value))
    assert "said by the server" in text
    assert LONG[:400] not in text


LINK = "cannot fetch https://songs.example/a.mp3?signature=hush-hush now"
LINK_ECHOES: dict[str, bytes] = {
    "an error": envelope(500, LINK),
    "a rejected request": envelope(400, LINK),
    "no such task": envelope(422, f"record not exist: {LINK}"),
    "a failed task": envelope(data=record(status="GENERATE_AUDIO_FAILED", errorMessage=LINK)),
    "a code": envelope(data=record(status="GENERATE_AUDIO_FAILED", errorCode=LINK)),
}


@pytest.mark.parametrize("body", LINK_ECHOES.values(), ids=LINK_ECHOES)
def test_a_message_that_echoes_a_link_is_shown_without_its_query(body: bytes) -> None:
    with pytest.raises(VocalSepError, match=r"songs\.example/a\.mp3") as caught:
        Decoder(SUNOAPI).task(TaskRef("task-1"), 200, {}, body).raise_for_failure()
    assert "hush-hush" not in "".join(traceback.format_exception(caught.value))
    assert "hush-hush" not in repr(caught.value)
