"""The jobs route of kie.ai, which is served beside the older one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from emulator.hook import Hook
from emulator.http_client import HttpClient, Reply

from vocalsep_async.emulator import Emulator
from vocalsep_async.models import TaskStatus

pytestmark = pytest.mark.anyio

CREATE, INFO = "/api/v1/jobs/createTask", "/api/v1/jobs/recordInfo"
SONG = {"audio_url": "https://songs.example/a.mp3?signature=s"}
MODEL = "ai-music-api/separate-vocals"
BODY = {"model": MODEL, "callBackUrl": "https://example.com/", "input": SONG}


async def create(http: HttpClient, emulator: Emulator, body: Any = None, **given: Any) -> Reply:
    content = {**BODY, "input": SONG | given} if body is None else body
    return await http.request(emulator, "POST", CREATE, json=content)


async def info(http: HttpClient, emulator: Emulator, task_id: str) -> Reply:
    return await http.request(emulator, "GET", INFO, params={"taskId": task_id})


async def test_a_created_job_waits_is_generated_and_has_its_links(http: HttpClient) -> None:
    async with Emulator(provider="kie") as emulator:
        created = await create(http, emulator)
        task_id = created.data["taskId"]
        waiting = (await info(http, emulator, task_id)).data
        emulator.finish(task_id)
        done = (await info(http, emulator, task_id)).data
    assert created.data == {"taskId": task_id, "recordId": task_id}
    assert (waiting["state"], waiting["resultJson"]) == ("waiting", "")
    assert waiting["completeTime"] is waiting["costTime"] is None
    assert (done["state"], done["failCode"]) == ("success", None)
    assert isinstance(done["costTime"], int)
    result = json.loads(done["resultJson"])["data"]
    assert set(result) == {"vocal_url", "instrumental_url", "origin_data"}
    assert "successFlag" not in done


async def test_a_job_in_the_second_half_of_its_time_is_generating(http: HttpClient) -> None:
    async with Emulator(provider="kie_jobs") as emulator:
        task_id = emulator.add_task(duration=1000.0, age=600.0)
        assert (await info(http, emulator, task_id)).data["state"] == "generating"


async def test_a_record_repeats_its_creation_as_json_within_json(http: HttpClient) -> None:
    async with Emulator(provider="kie_jobs") as emulator:
        created = await create(http, emulator, type="split_stem")
        shown = (await info(http, emulator, created.data["taskId"])).data["param"]
        added = (await info(http, emulator, emulator.add_task(type="split_stem"))).data["param"]
    assert json.loads(shown)["callBackUrl"] == "https://example.com/"
    assert json.loads(json.loads(shown)["input"]) == SONG | {"type": "split_stem"}
    assert json.loads(json.loads(added)["input"]) == {"type": "split_stem"}


async def test_a_failed_job_has_its_code_as_text(http: HttpClient) -> None:
    async with Emulator(provider="kie_jobs") as emulator:
        task_id = emulator.add_task()
        emulator.fail(task_id, code=413, message="too long", status=TaskStatus.CREATE_TASK_FAILED)
        failed = (await info(http, emulator, task_id)).data
    assert (failed["state"], failed["failCode"], failed["failMsg"]) == ("fail", "413", "too long")
    assert failed["resultJson"] == ""


async def test_the_routes_do_not_know_each_others_tasks(http: HttpClient) -> None:
    async with Emulator(provider="kie") as emulator:
        job = (await create(http, emulator)).data["taskId"]
        task = (await http.create(emulator)).data["taskId"]
        assert (await http.record_info(emulator, job)).data is None
        unknown = await info(http, emulator, task)
        assert (unknown.http_status, unknown.code, unknown.body["msg"]) == (
            200,
            422,
            "recordInfo is null",
        )
        assert (await info(http, emulator, job)).code == 200
        assert (await http.record_info(emulator, task)).data is not None


@pytest.mark.parametrize("provider, is_job", [("kie", False), ("kie_jobs", True)])
async def test_the_provider_decides_the_route_of_added_tasks(
    http: HttpClient, provider: Any, *, is_job: bool
) -> None:
    async with Emulator(provider=provider) as emulator:
        task_id = emulator.add_task()
        assert ((await info(http, emulator, task_id)).code == 200) is is_job
        assert ((await http.record_info(emulator, task_id)).data is None) is is_job


async def test_a_new_job_is_unknown_during_the_lookup_lag(http: HttpClient) -> None:
    async with Emulator(provider="kie_jobs", lookup_lag=3600.0) as emulator:
        created = await create(http, emulator)
        assert (await info(http, emulator, created.data["taskId"])).code == 422
        assert (await info(http, emulator, "")).code == 400


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {**BODY, "model": "another"},
        {**BODY, "input": json.dumps(SONG)},
        {**BODY, "input": {}},
        {**BODY, "input": SONG | {"task_id": "a", "audio_id": "b"}},
        {**BODY, "input": {"task_id": "a"}},
        {**BODY, "input": SONG | {"type": "karaoke"}},
        {**BODY, "input": SONG | {"stem_name": "drums"}},
        {**BODY, "input": SONG | {"type": "split_stem_advanced", "stem_name": ""}},
    ],
)
async def test_a_wrong_parameter_of_a_creation_is_code_500_and_creates_nothing(
    http: HttpClient, body: Any
) -> None:
    async with Emulator(provider="kie_jobs") as emulator:
        refused = await create(http, emulator, body)
    assert (refused.http_status, refused.code, refused.data) == (200, 500, None)
    assert emulator.tasks == ()
    assert emulator.credits_left == 1000


@pytest.mark.parametrize(
    "body",
    [
        {"model": MODEL, "input": SONG},
        {**BODY, "input": {"task_id": "a", "audio_id": "b"}},
        {**BODY, "input": SONG | {"type": "split_stem_advanced", "stem_name": "drums"}},
    ],
)
async def test_a_job_is_created_from_a_song_or_a_track_with_or_without_a_callback(
    http: HttpClient, body: Any
) -> None:
    async with Emulator(provider="kie_jobs") as emulator:
        assert (await create(http, emulator, body)).code == 200


async def test_a_job_needs_credits(http: HttpClient) -> None:
    async with Emulator(provider="kie_jobs", credits=9) as emulator:
        assert (await create(http, emulator)).code == 402
        assert emulator.tasks == ()
        assert (await http.credits(emulator)).data == 9.0


async def test_the_end_of_a_job_is_posted_as_its_record(http: HttpClient) -> None:
    async with (
        Hook().listening() as hook,
        Emulator(provider="kie_jobs", speed=1000.0) as emulator,
    ):
        created = await create(http, emulator, {**BODY, "callBackUrl": hook.url})
        done = await hook.body()
    assert done["code"] == 200
    assert (done["data"]["taskId"], done["data"]["state"]) == (created.data["taskId"], "success")
    assert "vocal_url" in json.loads(done["data"]["resultJson"])["data"]


async def test_the_failure_of_a_job_is_posted_without_a_result(http: HttpClient) -> None:
    async with (
        Hook().listening() as hook,
        Emulator(provider="kie_jobs", speed=1000.0, failure_rate=1) as emulator,
    ):
        await create(http, emulator, {**BODY, "callBackUrl": hook.url})
        failed = await hook.body()
    assert failed["code"] == 501
    assert (failed["data"]["state"], failed["data"]["failCode"]) == ("fail", "500")
    assert failed["data"]["resultJson"] is None


async def test_sunoapi_has_no_jobs(http: HttpClient) -> None:
    async with Emulator() as emulator:
        assert (await create(http, emulator)).code == 404
        assert (await info(http, emulator, "a")).code == 404
