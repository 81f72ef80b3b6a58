"""What the endpoints answer."""

import logging
import math
import zlib
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from emulator.calling import GENERATE, Caller, DialectName

from vocalsep_async.emulator import Emulator
from vocalsep_async.emulator.sampler import Sampler
from vocalsep_async.emulator.tasks import Ending
from vocalsep_async.errors import ConfigurationError
from vocalsep_async.models import SeparationType, TaskStatus

pytestmark = pytest.mark.anyio
TWELVE = [
    "vocalUrl",
    "backingVocalsUrl",
    "drumsUrl",
    "bassUrl",
    "guitarUrl",
    "keyboardUrl",
    "percussionUrl",
    "stringsUrl",
    "synthUrl",
    "fxUrl",
    "brassUrl",
    "woodwindsUrl",
]


async def test_a_created_task_is_pending_and_then_has_its_stems(caller: Caller) -> None:
    async with Emulator() as emulator:
        created = await caller.create(emulator)
        task_id = created.data["taskId"]
        pending = (await caller.record(emulator, task_id)).data
        emulator.finish(task_id)
        done = (await caller.record(emulator, task_id)).data
    assert emulator.tasks == (task_id,)
    assert pending["successFlag"] == "PENDING"
    assert pending["response"] is pending["completeTime"] is pending["errorCode"] is None
    assert pending["callbackUrl"] == "https://example.com/"
    assert done["successFlag"] == "SUCCESS"
    assert done["createTime"] == pending["createTime"] <= done["completeTime"]


@pytest.mark.parametrize("provider", ["sunoapi", "kie"])
async def test_two_stems_come_of_a_vocal_separation(caller: Caller, provider: DialectName) -> None:
    async with Emulator(provider=provider) as emulator:
        task_id = emulator.add_task(duration=0)
        response = (await caller.record(emulator, task_id)).data["response"]
    urls = {key for key, value in response.items() if key.endswith("Url") and value}
    assert urls == {"vocalUrl", "instrumentalUrl"}
    assert ("pianoUrl" in response) == (provider == "kie")
    assert set(TWELVE) < set(response)
    assert {"id", "originUrl", "originData"} < set(response)
    names = [track["stem_type_group_name"] for track in response["originData"]]
    assert names == ["Vocals", "Instrumental"]


@pytest.mark.parametrize("type_", [SeparationType.SPLIT_STEM, "split_stem"])
async def test_twelve_stems_come_of_a_split(caller: Caller, type_: SeparationType | str) -> None:
    async with Emulator() as emulator:
        task_id = emulator.add_task(type=type_, duration=0)
        response = (await caller.record(emulator, task_id)).data["response"]
    assert all(response[key].startswith(emulator.url + "/files/") for key in TWELVE)
    assert response["instrumentalUrl"] is None
    assert len(response["originData"]) == 12


@pytest.mark.parametrize(
    "stem_name, files",
    [
        ("Drum Kit", ("/drums.wav", "/without_drums.wav")),
        ("Bagpipe", ("/silence.wav", "/original.wav")),
        (None, ("/vocal.wav", "/without_vocal.wav")),
    ],
)
async def test_an_instrument_and_the_rest_come_of_the_advanced_type(
    caller: Caller, stem_name: str | None, files: tuple[str, str]
) -> None:
    async with Emulator() as emulator:
        created = await caller.create(emulator, type="split_stem_advanced", stemName=stem_name)
        emulator.finish(created.data["taskId"])
        response = (await caller.record(emulator, created.data["taskId"])).data["response"]
    [pair] = response["originData"]
    urls = [pair[part]["audio_url"] for part in ("extract", "remove")]
    assert all(file in url for file, url in zip(files, urls, strict=True))
    assert not any(value for key, value in response.items() if key.endswith("Url"))


async def test_the_source_track_is_in_the_record(caller: Caller) -> None:
    async with Emulator() as emulator:
        source = {"taskId": "t", "audioId": "a", "audioUrl": None}
        created = await caller.create(emulator, **source)
        record = await caller.record(emulator, created.data["taskId"])
    assert record.data["musicId"] == "a"


async def test_an_unknown_task_is_null_under_success(caller: Caller) -> None:
    async with Emulator() as emulator:
        answer = await caller.record(emulator, "nobody")
    assert (answer.http_status, answer.code, answer.data) == (200, 200, None)


@pytest.mark.parametrize("age, known", [(0.0, False), (7200.0, True)])
async def test_a_young_task_is_unknown_during_the_lag(
    caller: Caller, age: float, *, known: bool
) -> None:
    async with Emulator(lookup_lag=3600.0) as emulator:
        task_id = emulator.add_task(age=age)
        answer = await caller.record(emulator, task_id)
    assert (answer.data is not None) == known


async def test_the_printed_times_give_the_true_duration(caller: Caller) -> None:
    async with Emulator() as emulator:
        task_id = emulator.add_task(duration=83.25, age=100.0)
        record = (await caller.record(emulator, task_id)).data
    assert record["completeTime"] - record["createTime"] in {83_249, 83_250, 83_251}


@pytest.mark.parametrize(
    "body",
    [
        {"callBackUrl": None},
        {"callBackUrl": "  "},
        {"type": "karaoke"},
        {"type": ["split_stem"]},
        {"audioUrl": None},
        {"audioUrl": None, "taskId": "only"},
        {"taskId": "t", "audioId": "a"},
        {"audioUrl": 7},
    ],
)
@pytest.mark.parametrize("provider, code", [("sunoapi", 400), ("kie", 422)])
async def test_wrong_parameters_are_refused_and_cost_nothing(
    caller: Caller, body: dict[str, object], provider: DialectName, code: int
) -> None:
    async with Emulator(provider=provider) as emulator:
        answer = await caller.create(emulator, **body)
    assert (answer.http_status, answer.code, answer.data) == (200, code, None)
    assert emulator.credits_left == 1000.0
    assert emulator.tasks == ()


@pytest.mark.parametrize("text", ["", "{", "[1]"])
async def test_a_body_that_is_no_object_is_refused(caller: Caller, text: str) -> None:
    async with Emulator() as emulator:
        answer = await caller.ask(emulator, "POST", "/api/v1/vocal-removal/generate", data=text)
    assert answer.code == 400


def _nested(depth: int) -> bytes:
    return b'{"type": ' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize(
    "content, charset",
    [
        pytest.param(b"[" * 100_000, "utf-8", id="deep"),
        pytest.param(_nested(100_000), "utf-8", id="deep-type"),
        pytest.param(b'{"audioUrl": "\xff"}', "utf-8", id="no-utf-8"),
        pytest.param('{"audioUrl": "\u00e9"}'.encode("latin-1"), "latin-1", id="latin-1"),
        pytest.param("{}".encode("utf-16"), "utf-16", id="utf-16"),
        pytest.param(zlib.compress(b"{}"), "zlib", id="zlib"),
        pytest.param(b"\xff{}", "klingon", id="unknown"),
        pytest.param(b'{"audioUrl": ' + b"1" * 5000 + b"}", "utf-8", id="long-number"),
    ],
)
@pytest.mark.parametrize("provider, code", [("sunoapi", 400), ("kie", 422)])
async def test_a_body_that_cannot_be_read_is_refused_without_a_word_in_the_log(
    caller: Caller,
    caplog: pytest.LogCaptureFixture,
    *,
    content: bytes,
    charset: str,
    provider: DialectName,
    code: int,
) -> None:
    headers = {"Content-Type": f"application/json; charset={charset}"}
    async with Emulator(provider=provider) as emulator:
        answer = await caller.ask(emulator, "POST", GENERATE, data=content, headers=headers)
    assert (answer.http_status, answer.code, answer.data) == (200, code, None)
    assert answer.body["msg"] == "The body is not a JSON object."
    assert (emulator.tasks, emulator.credits_left) == ((), 1000.0)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_no_depth_of_nesting_breaks_the_server(caller: Caller) -> None:
    async with Emulator(rate_limit=None) as emulator:
        codes = {
            (await caller.ask(emulator, "POST", GENERATE, data=_nested(depth))).code
            for depth in range(850, 1000)
        }
    assert codes == {400}


@pytest.mark.parametrize("charset", ["utf-8", "latin-1", "zlib", "klingon"])
async def test_a_body_is_read_as_utf_8_whatever_its_charset(caller: Caller, charset: str) -> None:
    source = '{"taskId": "t", "audioId": "\u00e9", "callBackUrl": "https://example.com/"}'
    headers = {"Content-Type": f"application/json; charset={charset}"}
    async with Emulator() as emulator:
        sent = {"data": source.encode(), "headers": headers}
        created = await caller.ask(emulator, "POST", GENERATE, **sent)
        record = await caller.record(emulator, created.data["taskId"])
    assert record.data["musicId"] == "\u00e9"


async def test_record_info_without_an_id_is_refused(caller: Caller) -> None:
    async with Emulator() as emulator:
        assert (await caller.record(emulator, "")).code == 400
    assert emulator.requests[0].task_id is None


@pytest.mark.parametrize(
    "type_, cost", [("separate_vocal", 10), ("split_stem", 50), ("split_stem_advanced", 20)]
)
async def test_each_task_is_charged(caller: Caller, type_: str, cost: int) -> None:
    async with Emulator(credits=100) as emulator:
        await caller.create(emulator, type=type_)
        assert (await caller.credits(emulator)).data == 100 - cost


@pytest.mark.parametrize("provider, code", [("sunoapi", 429), ("kie", 402)])
async def test_an_empty_account_gets_no_task(
    caller: Caller, provider: DialectName, code: int
) -> None:
    async with Emulator(provider=provider, credits=9.5) as emulator:
        answer = await caller.create(emulator)
        credits_left = (await caller.credits(emulator)).text
    assert answer.code == code
    assert "insufficient" in answer.body["msg"]
    assert emulator.tasks == ()
    assert ('"data": 9.5}' in credits_left) == (provider == "kie")


@pytest.mark.parametrize(
    "accepted, sent, code",
    [
        (None, "Bearer anything", 200),
        (None, "Bearer  ", 401),
        (None, "Basic anything", 401),
        (None, "", 401),
        ("right", "bearer right", 200),
        ("right", "Bearer wrong", 401),
        ("right", "Bearer wr\u00f6ng", 401),
    ],
)
async def test_only_the_right_key_is_let_in(
    caller: Caller, accepted: str | None, sent: str, code: int
) -> None:
    async with Emulator(api_key=accepted) as emulator:
        path = "/api/v1/generate/credit"
        answer = await caller.ask(emulator, "GET", path, headers={"Authorization": sent})
    assert (answer.http_status, answer.code) == (200, code)
    assert ("data" in answer.body) == (code == 200)


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/api/v1/nothing"),
        ("GET", "/api/v1/vocal-removal/generate"),
        ("GET", "/api/v1/chat/credit"),
    ],
)
async def test_a_wrong_path_or_method_is_code_404(caller: Caller, method: str, path: str) -> None:
    async with Emulator() as emulator:
        assert (await caller.ask(emulator, method, path)).code == 404


async def test_a_path_outside_the_api_is_a_plain_404(caller: Caller) -> None:
    async with Emulator() as emulator:
        assert (await caller.ask(emulator, "GET", "/")).http_status == 404
    assert emulator.requests[0].code == 404


async def test_a_task_can_be_made_to_fail(caller: Caller) -> None:
    async with Emulator() as emulator:
        task_id = emulator.add_task(duration=math.inf)
        status = TaskStatus.CREATE_TASK_FAILED
        emulator.fail(task_id, status=status, code=501, message="no luck")
        record = (await caller.record(emulator, task_id)).data
    assert record["successFlag"] == status
    assert (record["errorCode"], record["errorMessage"]) == (501, "no luck")
    assert record["response"] is None


@pytest.mark.parametrize("rate", [0.0, 1.0])
async def test_as_many_tasks_fail_as_were_asked_to(caller: Caller, rate: float) -> None:
    async with Emulator(failure_rate=rate) as emulator:
        records = [await caller.record(emulator, emulator.add_task(duration=0)) for _ in range(3)]
    expected = "GENERATE_AUDIO_FAILED" if rate else "SUCCESS"
    assert {record.data["successFlag"] for record in records} == {expected}


async def test_stems_can_be_there_though_the_callback_failed(caller: Caller) -> None:
    async with Emulator() as emulator:
        task_id = emulator.add_task(duration=math.inf)
        emulator.finish(task_id, status=TaskStatus.CALLBACK_EXCEPTION)
        record = (await caller.record(emulator, task_id)).data
    assert record["successFlag"] == "CALLBACK_EXCEPTION"
    assert record["response"]["vocalUrl"]


@pytest.mark.parametrize(
    "task_id", ["a/../b", "..", ".", " a ", "%2F", "\u00e9 \U0001f3a4", "x" * 300]
)
async def test_an_id_that_is_not_blank_may_hold_any_characters(
    caller: Caller, task_id: str
) -> None:
    async with Emulator() as emulator:
        assert emulator.add_task(task_id, duration=0) == task_id
        record = (await caller.record(emulator, task_id)).data
        file = await caller.session.get(record["response"]["vocalUrl"])
        file.release()
    assert record["taskId"] == task_id
    assert file.status == 200
    assert [request.task_id for request in emulator.requests] == [task_id, task_id]


def test_the_same_seed_draws_the_same_tasks() -> None:
    def draw(seed: int) -> list[tuple[str, float, Ending]]:
        drawing = Sampler(seed, speed=1.0, failure_rate=0.5)
        type_ = SeparationType.SPLIT_STEM
        return [(drawing.task_id(), drawing.duration(type_), drawing.ending()) for _ in range(9)]

    assert draw(4) == draw(4) != draw(5)


@pytest.mark.parametrize(
    "type_, low, high", [("separate_vocal", 20, 90), ("split_stem_advanced", 60, 240)]
)
def test_nine_of_ten_durations_lie_in_the_usual_range(type_: str, low: float, high: float) -> None:
    drawing = Sampler(0, speed=10.0, failure_rate=0.0)
    drawn = [10.0 * drawing.duration(SeparationType(type_)) for _ in range(2000)]
    assert sum(low <= seconds <= high for seconds in drawn) / 2000 == pytest.approx(0.9, abs=0.03)


async def test_requests_are_written_down_in_the_order_of_their_answers(caller: Caller) -> None:
    async with Emulator() as emulator:
        created = await caller.create(emulator)
        await caller.credits(emulator)
    first, second = emulator.requests
    assert (first.method, first.path) == ("POST", "/api/v1/vocal-removal/generate")
    assert (first.task_id, first.code, first.throttled) == (created.data["taskId"], 200, False)
    assert (second.path, second.task_id) == ("/api/v1/generate/credit", None)
    assert first.at < second.at


@pytest.mark.parametrize(
    "wrong",
    [
        lambda emulator: emulator.add_task("there"),
        lambda emulator: emulator.add_task(age=-1),
        lambda emulator: emulator.add_task(age=math.inf),
        lambda emulator: emulator.add_task(age=1e308),
        lambda emulator: emulator.add_task(duration=-1),
        lambda emulator: emulator.add_task(duration=math.nan),
        lambda emulator: emulator.finish("nobody"),
        lambda emulator: emulator.fail("nobody"),
        lambda emulator: emulator.finish("there", status=TaskStatus.PENDING),
        lambda emulator: emulator.fail("there", status=TaskStatus.SUCCESS),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: Callable[[Emulator], object]) -> None:
    emulator = Emulator()
    emulator.add_task("there")
    with pytest.raises(ConfigurationError):
        wrong(emulator)


@pytest.mark.parametrize(
    "options, told",
    [
        ({"task_id": 7}, "a task id is a string, not int"),
        ({"task_id": ""}, "a task id is a string that is not blank"),
        ({"task_id": " \t\u00a0"}, "a task id is a string that is not blank"),
        ({"type": "karaoke"}, "type must be one of separate_vocal, .*, not 'karaoke'"),
        ({"type": None}, "type must be one of .*, not NoneType"),
        ({"age": "x"}, "age must be a number, not str"),
        ({"age": None}, "age must be a number, not NoneType"),
        ({"age": 1e308}, r"age must be at most 315360000, which is ten years, not 1e\+308"),
        ({"age": 315_360_001}, "age must be at most 315360000"),
        ({"age": 10**400}, "age must be a finite number at least 0"),
        ({"duration": "x"}, "duration must be a number, not str"),
        ({"duration": True}, "duration must be a number, not bool"),
        ({"duration": 10**400}, "duration must be a finite number at least 0"),
    ],
)
def test_a_task_of_the_wrong_kind_is_refused_with_a_reason(
    options: dict[str, Any], told: str
) -> None:
    emulator = Emulator()
    with pytest.raises(ConfigurationError, match=told):
        emulator.add_task(**options)
    assert emulator.tasks == ()


async def test_a_task_may_be_ten_years_old(caller: Caller) -> None:
    years = 10 * 365 * 86_400
    async with Emulator() as emulator:
        record = (await caller.record(emulator, emulator.add_task(age=years, duration=years))).data
    assert record["completeTime"] - record["createTime"] == pytest.approx(years * 1000, abs=1)


def test_a_pending_task_has_no_ending_yet() -> None:
    emulator = Emulator()
    task = emulator._backend.tasks.find(emulator.add_task("one", duration=5))
    assert task is not None
    assert task.ended(task.created_at + 4.9) is None
    assert task.ended(task.created_at + 5.1) == Ending(TaskStatus.SUCCESS)


async def test_a_request_in_its_latency_is_let_go_at_the_end(caller: Caller) -> None:
    emulator = Emulator(latency=3600.0)
    async with anyio.create_task_group() as group, emulator:
        group.start_soon(caller.create, emulator)
        while not emulator.tasks:
            await checkpoint()
    assert [request.code for request in emulator.requests] == [200]
