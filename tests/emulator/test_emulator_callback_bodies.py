"""What the emulator posts, read by the package."""

from __future__ import annotations

import math

import pytest
from emulator.hook import Hook, until
from emulator.http_client import ProviderName

from vocalsep_async.emulator import CallbackFaults, CallbackKind, CallbackRecord, Emulator
from vocalsep_async.errors import (
    ForgedCallbackError,
    MalformedCallbackError,
    StaleCallbackError,
    UnsignedCallbackError,
)
from vocalsep_async.models import SeparationType
from vocalsep_async.webhooks import CallbackEvent, CallbackUrl, parse_callback, verify_signature

pytestmark = pytest.mark.anyio
KEY = "a-key"
PROVIDERS: tuple[ProviderName, ...] = ("sunoapi", "kie", "kie_jobs")


async def posted(
    emulator: Emulator,
    *kinds: CallbackKind,
    type_: SeparationType = SeparationType.SEPARATE_VOCAL,
    fails: bool = False,
) -> list[CallbackRecord]:
    """Post callbacks of each kind about one task, and a last one about its end."""
    async with Hook().listening() as hook, emulator:
        task_id = emulator.add_task("a", type=type_, duration=math.inf, callback_url=hook.url)
        for number, kind in enumerate(kinds, 1):
            emulator.post_callback(task_id, kind)
            await until(lambda number=number: len(emulator.posted) == number)  # type: ignore[misc]
        (emulator.fail if fails else emulator.finish)(task_id)
        await until(lambda: len(emulator.posted) == len(kinds) + 1)
    return list(emulator.posted)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "type_, count",
    [
        (SeparationType.SEPARATE_VOCAL, 2),
        (SeparationType.SPLIT_STEM, 12),
        (SeparationType.SPLIT_STEM_ADVANCED, 2),
    ],
)
async def test_a_success_is_read_with_all_its_stems(
    provider: ProviderName, type_: SeparationType, count: int
) -> None:
    (record,) = await posted(Emulator(provider=provider), type_=type_)
    event = parse_callback(record.body)
    assert (event.task_id, event.code, event.is_final) == ("a", 200, True)
    assert event.task.succeeded
    assert len(event.task.origin_tracks or dict(event.task.stems)) == count


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_progress_is_read_as_no_end_and_a_failure_as_one(provider: ProviderName) -> None:
    progress, failure = await posted(
        Emulator(provider=provider), CallbackKind.IN_PROGRESS, fails=True
    )
    first, second = (parse_callback(each.body) for each in (progress, failure))
    assert (first.task_id, first.code, first.is_final) == ("a", 202, False)
    assert (second.task_id, second.is_final, second.task.succeeded) == ("a", True, False)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_failure_without_data_names_no_task(provider: ProviderName) -> None:
    faults = CallbackFaults(null_data=1)
    (record,) = await posted(Emulator(provider=provider, callbacks=faults), fails=True)
    with pytest.raises(MalformedCallbackError):
        parse_callback(record.body)


@pytest.mark.parametrize("provider", ["kie", "kie_jobs"])
async def test_signatures_are_told_apart(provider: ProviderName) -> None:
    forged = {
        CallbackKind.WRONG_SIGNATURE: ForgedCallbackError,
        CallbackKind.STALE: StaleCallbackError,
        CallbackKind.UNSIGNED: UnsignedCallbackError,
    }
    emulator = Emulator(provider=provider, webhook_key=KEY)
    *records, changed, genuine = await posted(emulator, *forged, CallbackKind.CHANGED)
    for record in records:
        with pytest.raises(forged[record.kind]):
            verify_signature(record.headers, record.body, KEY)
    for record in (changed, genuine):
        verify_signature(record.headers, record.body, KEY)
    links = [dict(read(each).task.stems)["vocal"] for each in (changed, genuine)]
    assert links[0].startswith("https://stems.invalid/")
    assert links[1].startswith(emulator.url)


def read(record: CallbackRecord) -> CallbackEvent:
    return parse_callback(record.body)


@pytest.mark.parametrize("field", [None, "token"])
async def test_a_wrong_address_is_no_secret_one(field: str | None) -> None:
    async with Hook().listening() as hook, Emulator() as emulator:
        address = CallbackUrl(hook.url, "a secret that is long enough", field=field)
        emulator.add_task("a", duration=math.inf, callback_url=address.url("order"))
        emulator.post_callback("a", CallbackKind.WRONG_ADDRESS)
        emulator.post_callback("a")
        await until(lambda: len(emulator.posted) == 2)
    urls = {each.kind: each.url for each in emulator.posted}
    assert address.check(urls[CallbackKind.GENUINE]) == "order"
    with pytest.raises(ForgedCallbackError):
        address.check(urls[CallbackKind.WRONG_ADDRESS])
