"""Responses of the endpoints, and tasks that tests add and end."""

import logging
import math
import zlib
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from emulator.http_client import GENERATE, HttpClient, ProviderName, Reply

from vocalsep_async.emulator import Emulator, audio, fast_settings
from vocalsep_async.emulator.tasks import Ending, Sampler
from vocalsep_async.errors import InvalidArgumentError, InvalidParametersError
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


async def test_a_created_task_is_pending_and_then_has_its_stems(http: HttpClient) -> None:
    async with Emulator() as emulator:
        created = await http.create(emulator)
        task_id = created.data["taskId"]
        pending = (await http.record_info(emulator, task_id)).data
        emulator.finish(task_id)
        done = (await http.record_info(emulator, task_id)).data
    assert emulator.tasks == (task_id,)
    assert pending["successFlag"] == "PENDING"
    assert pending["response"] is pending["completeTime"] is pending["errorCode"] is None
    assert pending["callbackUrl"] == "https://example.com/"
    assert done["successFlag"] == "SUCCESS"
    assert done["createTime"] == pending["createTime"] <= done["completeTime"]


@pytest.mark.parametrize("provider", ["sunoapi", "kie"])
async def test_a_vocal_separation_returns_two_stems(
    http: HttpClient, provider: ProviderName
) -> None:
    async with Emulator(provider=provider) as emulator:
        task_id = emulator.add_task(duration=0)
        response = (await http.record_info(emulator, task_id)).data["response"]
    urls = {key for key, value in response.items() if key.endswith("Url") and value}
    assert urls == {"vocalUrl", "instrumentalUrl"}
    assert ("pianoUrl" in response) == (provider == "kie")
    assert set(TWELVE) < set(response)
    assert {"id", "originUrl", "originData"} < set(response)
    names = [track["stem_type_group_name"] for track in response["originData"]]
    assert names == ["Vocals", "Instrumental"]


@pytest.mark.parametrize("type_", [SeparationType.SPLIT_STEM, "split_stem"])
async def test_a_split_returns_twelve_stems(http: HttpClient, type_: SeparationType | str) -> None:
    async with Emulator() as emulator:
        task_id = emulator.add_task(type=type_, duration=0)
        response = (await http.record_info(emulator, task_id)).data["response"]
    assert all(response[key].startswith(emulator.url + "/files/") for key in TWELVE)
    assert response["instrumentalUrl"] is None
    groups = [track["stem_type_group_name"] for track in response["originData"]]
    assert groups[:2] == ["Vocals", "Backing Vocals"]
    assert "FX" in groups
    assert len(set(groups)) == 12


@pytest.mark.parametrize(
    "stem_name, group, mixes",
    [
        ("Drum Kit", "Drum Kit", ("drums", "without_drums")),
        ("Bagpipe/?#%\u00e9", "Bagpipe/?#%\u00e9", ("silence", "original")),
        (None, "Lead Vocal", ("vocal", "without_vocal")),
    ],
)
async def test_the_advanced_type_returns_an_instrument_and_the_rest(
    http: HttpClient, stem_name: str | None, group: str, mixes: tuple[str, str]
) -> None:
    async with Emulator() as emulator:
        created = await http.create(emulator, type="split_stem_advanced", stemName=stem_name)
        emulator.finish(created.data["taskId"])
        response = (await http.record_info(emulator, created.data["taskId"])).data["response"]
        [pair] = response["originData"]
        for part, mix in zip(("extract", "remove"), mixes, strict=True):
            async with http.session.get(pair[part]["audio_url"]) as reply:
                assert await reply.read() == audio.wav(mix)
    assert {each["stem_type_group_name"] for each in pair.values()} == {group}
    assert not any(value for key, value in response.items() if key.endswith("Url"))


async def test_the_record_contains_the_source_track(http: HttpClient) -> None:
    async with Emulator() as emulator:
        source = {"taskId": "t", "audioId": "a", "audioUrl": None}
        created = await http.create(emulator, **source)
        record = await http.record_info(emulator, created.data["taskId"])
    assert record.data["musicId"] == "a"


async def test_an_unknown_task_is_null_under_code_200(http: HttpClient) -> None:
    async with Emulator() as emulator:
        reply = await http.record_info(emulator, "unknown")
    assert (reply.http_status, reply.code, reply.data) == (200, 200, None)


@pytest.mark.parametrize("age, known", [(0.0, False), (7200.0, True)])
async def test_a_new_task_is_unknown_during_the_lookup_lag(
    http: HttpClient, age: float, *, known: bool
) -> None:
    async with Emulator(lookup_lag=3600.0) as emulator:
        task_id = emulator.add_task(age=age)
        reply = await http.record_info(emulator, task_id)
    assert (reply.data is not None) == known


async def test_the_printed_times_give_the_true_duration(http: HttpClient) -> None:
    async with Emulator() as emulator:
        task_id = emulator.add_task(duration=83.25, age=100.0)
        record = (await http.record_info(emulator, task_id)).data
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
async def test_invalid_parameters_are_refused_and_cost_no_credits(
    http: HttpClient, body: dict[str, object], provider: ProviderName, code: int
) -> None:
    async with Emulator(provider=provider) as emulator:
        reply = await http.create(emulator, **body)
    assert (reply.http_status, reply.code, reply.data) == (200, code, None)
    assert emulator.credits_left == 1000.0
    assert emulator.tasks == ()


@pytest.mark.parametrize("provider, code", [("sunoapi", 400), ("kie", 422)])
async def test_a_missing_callback_url_is_asked_for_in_words_of_the_service(
    http: HttpClient, provider: ProviderName, code: int
) -> None:
    async with Emulator(provider=provider) as emulator:
        reply = await http.create(emulator, callBackUrl=None)
    assert reply.body == {"code": code, "msg": "Please enter callBackUrl.", "data": None}


@pytest.mark.parametrize("provider, code", [("sunoapi", 400), ("kie", 422)])
async def test_a_song_is_known_if_it_was_added_and_any_until_then(
    http: HttpClient, provider: ProviderName, code: int
) -> None:
    async def create(task_id: object, audio_id: object) -> Reply:
        ids = {"taskId": task_id, "audioId": audio_id, "audioUrl": None}
        return await http.create(emulator, **ids)

    async with Emulator(provider=provider) as emulator:
        assert (await create("any", "song")).code == 200
        emulator.add_song("music", "one")
        drawn = emulator.add_song()
        for known in (("music", "one"), drawn):
            assert (await create(*known)).code == 200
        assert (await http.create(emulator, taskId=["odd"])).code == 200
        left = emulator.credits_left
        for unknown in (("music", "two"), ("any", "song"), (drawn[0], "one")):
            reply = await create(*unknown)
            assert (reply.http_status, reply.code) == (200, code)
            assert reply.body["msg"] == "Record does not exist"
    assert emulator.credits_left == left
    assert drawn[1].count("-") == 4


@pytest.mark.parametrize("provider", ["sunoapi", "kie", "kie_jobs"])
async def test_a_client_separates_a_song_that_was_added_and_no_other(
    provider: ProviderName,
) -> None:
    async with Emulator(provider=provider, speed=1000) as emulator:
        song = emulator.add_song()
        async with emulator.client(**fast_settings()) as client:
            assert (await client.separate(song)).succeeded
            with pytest.raises(InvalidParametersError, match="Record does not exist"):
                await client.separate((song[0], "another"))


@pytest.mark.parametrize("name", ["task_id", "audio_id"])
def test_a_song_with_a_blank_id_is_refused(name: str) -> None:
    for wrong, message in ((" ", "not blank"), (7, "a string, not int")):
        ids: Any = {name: wrong}
        with pytest.raises(InvalidArgumentError, match=f"{name} must be .*{message}"):
            Emulator().add_song(**ids)


@pytest.mark.parametrize("text", ["", "{", "[1]"])
async def test_a_body_that_is_not_an_object_is_refused(http: HttpClient, text: str) -> None:
    async with Emulator() as emulator:
        reply = await http.request(emulator, "POST", "/api/v1/vocal-removal/generate", data=text)
    assert reply.code == 400


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
        pytest.param(b"\xff{}", "unheard-of", id="unknown"),
        pytest.param(b'{"audioUrl": ' + b"1" * 5000 + b"}", "utf-8", id="long-number"),
    ],
)
@pytest.mark.parametrize("provider, code", [("sunoapi", 400), ("kie", 422)])
async def test_a_malformed_body_is_refused_and_logs_no_warning(
    http: HttpClient,
    caplog: pytest.LogCaptureFixture,
    *,
    content: bytes,
    charset: str,
    provider: ProviderName,
    code: int,
) -> None:
    headers = {"Content-Type": f"application/json; charset={charset}"}
    async with Emulator(provider=provider) as emulator:
        reply = await http.request(emulator, "POST", GENERATE, data=content, headers=headers)
    assert (reply.http_status, reply.code, reply.data) == (200, code, None)
    assert reply.body["msg"] == "The body is not a JSON object."
    assert (emulator.tasks, emulator.credits_left) == ((), 1000.0)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_body_of_any_depth_is_refused_without_a_server_error(http: HttpClient) -> None:
    async with Emulator(rate_limit=None) as emulator:
        codes = {
            (await http.request(emulator, "POST", GENERATE, data=_nested(depth))).code
            for depth in range(850, 1000)
        }
    assert codes == {400}


@pytest.mark.parametrize("charset", ["utf-8", "latin-1", "zlib", "unheard-of"])
async def test_a_body_is_decoded_as_utf_8_whatever_its_charset(
    http: HttpClient, charset: str
) -> None:
    source = '{"taskId": "t", "audioId": "\u00e9", "callBackUrl": "https://example.com/"}'
    headers = {"Content-Type": f"application/json; charset={charset}"}
    async with Emulator() as emulator:
        sent = {"data": source.encode(), "headers": headers}
        created = await http.request(emulator, "POST", GENERATE, **sent)
        record = await http.record_info(emulator, created.data["taskId"])
    assert record.data["musicId"] == "\u00e9"


async def test_record_info_without_an_id_is_refused(http: HttpClient) -> None:
    async with Emulator() as emulator:
        assert (await http.record_info(emulator, "")).code == 400
    assert emulator.requests[0].task_id is None


@pytest.mark.parametrize(
    "type_, cost", [("separate_vocal", 10), ("split_stem", 50), ("split_stem_advanced", 20)]
)
async def test_each_type_of_task_costs_its_credits(http: HttpClient, type_: str, cost: int) -> None:
    async with Emulator(credits=100) as emulator:
        await http.create(emulator, type=type_)
        assert (await http.credits(emulator)).data == 100 - cost


@pytest.mark.parametrize("provider, code", [("sunoapi", 429), ("kie", 402)])
async def test_an_account_without_credits_creates_no_task(
    http: HttpClient, provider: ProviderName, code: int
) -> None:
    async with Emulator(provider=provider, credits=9.5) as emulator:
        reply = await http.create(emulator)
        credits_left = (await http.credits(emulator)).text
    assert reply.code == code
    assert "insufficient" in reply.body["msg"]
    assert emulator.tasks == ()
    assert ('"data":9.5}' in credits_left) == (provider == "kie")


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
async def test_only_the_accepted_key_is_authorized(
    http: HttpClient, accepted: str | None, sent: str, code: int
) -> None:
    async with Emulator(api_key=accepted) as emulator:
        path = "/api/v1/generate/credit"
        reply = await http.request(emulator, "GET", path, headers={"Authorization": sent})
    assert (reply.http_status, reply.code) == (200, code)
    assert ("data" in reply.body) == (code == 200)


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/api/v1/nothing"),
        ("GET", "/api/v1/vocal-removal/generate"),
        ("GET", "/api/v1/chat/credit"),
    ],
)
async def test_an_unknown_path_or_method_of_the_api_is_code_404(
    http: HttpClient, method: str, path: str
) -> None:
    async with Emulator() as emulator:
        assert (await http.request(emulator, method, path)).code == 404


async def test_a_path_outside_the_api_is_http_404(http: HttpClient) -> None:
    async with Emulator() as emulator:
        assert (await http.request(emulator, "GET", "/")).http_status == 404
    assert emulator.requests[0].code == 404


async def test_fail_ends_a_task_with_the_given_error(http: HttpClient) -> None:
    async with Emulator() as emulator:
        task_id = emulator.add_task(duration=math.inf)
        status = TaskStatus.CREATE_TASK_FAILED
        emulator.fail(task_id, status=status, code=501, message="no luck")
        record = (await http.record_info(emulator, task_id)).data
    assert record["successFlag"] == status
    assert (record["errorCode"], record["errorMessage"]) == (501, "no luck")
    assert record["response"] is None


@pytest.mark.parametrize("rate", [0.0, 1.0])
async def test_the_failure_rate_decides_how_many_tasks_fail(http: HttpClient, rate: float) -> None:
    async with Emulator(failure_rate=rate) as emulator:
        records = [
            await http.record_info(emulator, emulator.add_task(duration=0)) for _ in range(3)
        ]
    expected = "GENERATE_AUDIO_FAILED" if rate else "SUCCESS"
    assert {record.data["successFlag"] for record in records} == {expected}


async def test_finish_with_a_callback_exception_returns_stems(http: HttpClient) -> None:
    async with Emulator() as emulator:
        task_id = emulator.add_task(duration=math.inf)
        emulator.finish(task_id, status=TaskStatus.CALLBACK_EXCEPTION)
        record = (await http.record_info(emulator, task_id)).data
    assert record["successFlag"] == "CALLBACK_EXCEPTION"
    assert record["response"]["vocalUrl"]


@pytest.mark.parametrize(
    "task_id", ["a/../b", "..", ".", " a ", "%2F", "\u00e9 \U0001f3a4", "x" * 300]
)
async def test_a_task_id_may_contain_any_characters(http: HttpClient, task_id: str) -> None:
    async with Emulator() as emulator:
        assert emulator.add_task(task_id, duration=0) == task_id
        record = (await http.record_info(emulator, task_id)).data
        file = await http.session.get(record["response"]["vocalUrl"])
        file.release()
    assert record["taskId"] == task_id
    assert file.status == 200
    assert [request.task_id for request in emulator.requests] == [task_id, task_id]


def test_the_same_seed_draws_the_same_tasks() -> None:
    def drawn(seed: int) -> list[tuple[str, float, Ending]]:
        sampler = Sampler(seed, speed=1.0, failure_rate=0.5)
        type_ = SeparationType.SPLIT_STEM
        return [
            (sampler.task_id(), sampler.duration(type_), sampler.ending([(500, "a"), (400, "b")]))
            for _ in range(9)
        ]

    assert drawn(4) == drawn(4) != drawn(5)


@pytest.mark.parametrize(
    "type_, low, high", [("separate_vocal", 20, 90), ("split_stem_advanced", 60, 240)]
)
def test_nine_of_ten_durations_lie_in_the_usual_range(type_: str, low: float, high: float) -> None:
    sampler = Sampler(0, speed=10.0, failure_rate=0.0)
    drawn = [10.0 * sampler.duration(SeparationType(type_)) for _ in range(2000)]
    assert sum(low <= seconds <= high for seconds in drawn) / 2000 == pytest.approx(0.9, abs=0.03)


async def test_requests_are_logged_in_the_order_of_their_responses(http: HttpClient) -> None:
    async with Emulator() as emulator:
        created = await http.create(emulator)
        await http.credits(emulator)
    first, second = emulator.requests
    assert (first.method, first.path) == ("POST", "/api/v1/vocal-removal/generate")
    assert (first.task_id, first.code, first.throttled) == (created.data["taskId"], 200, False)
    assert (second.path, second.task_id) == ("/api/v1/generate/credit", None)
    assert first.at < second.at


@pytest.mark.parametrize(
    "wrong",
    [
        lambda emulator: emulator.add_task("known"),
        lambda emulator: emulator.add_task(age=-1),
        lambda emulator: emulator.add_task(age=math.inf),
        lambda emulator: emulator.add_task(age=1e308),
        lambda emulator: emulator.add_task(duration=-1),
        lambda emulator: emulator.add_task(duration=math.nan),
        lambda emulator: emulator.finish("unknown"),
        lambda emulator: emulator.fail("unknown"),
        lambda emulator: emulator.finish("known", status=TaskStatus.PENDING),
        lambda emulator: emulator.fail("known", status=TaskStatus.SUCCESS),
    ],
)
def test_an_invalid_task_or_status_is_refused(wrong: Callable[[Emulator], object]) -> None:
    emulator = Emulator()
    emulator.add_task("known")
    with pytest.raises(InvalidArgumentError):
        wrong(emulator)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"task_id": 7}, "task_id must be a string, not int"),
        ({"task_id": ""}, "task_id must be a string that is not blank"),
        ({"task_id": " \t\u00a0"}, "task_id must be a string that is not blank"),
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
def test_an_invalid_task_is_refused_with_a_reason(options: dict[str, Any], message: str) -> None:
    emulator = Emulator()
    with pytest.raises(InvalidArgumentError, match=message):
        emulator.add_task(**options)
    assert emulator.tasks == ()


async def test_a_task_may_be_ten_years_old(http: HttpClient) -> None:
    years = 10 * 365 * 86_400
    async with Emulator() as emulator:
        record = (
            await http.record_info(emulator, emulator.add_task(age=years, duration=years))
        ).data
    assert record["completeTime"] - record["createTime"] == pytest.approx(years * 1000, abs=1)


def test_a_pending_task_has_not_ended() -> None:
    emulator = Emulator()
    task = emulator._backend.tasks.find(emulator.add_task("one", duration=5))
    assert task is not None
    assert task.ended(task.created_at + 4.9) is None
    assert task.ended(task.created_at + 5.1) == Ending(TaskStatus.SUCCESS)


async def test_closing_answers_a_delayed_request_immediately(http: HttpClient) -> None:
    emulator = Emulator(latency=3600.0)
    async with anyio.create_task_group() as group, emulator:
        group.start_soon(http.create, emulator)
        while not emulator.tasks:
            await checkpoint()
    assert [request.code for request in emulator.requests] == [200]
