"""Parts of a file are joined only if both answers identify it as the same file."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from downloads.hosts import AUDIO, OTHER, TASK_ID, Answer, Host, files_of, remote_of
from downloads.parts import HALF, half_of

from vocalsep_async import VocalSepClient

pytestmark = pytest.mark.anyio

CUT = 100_000
DATE = "Wed, 01 Jul 2026 00:00:00 GMT"
LATER = "Wed, 01 Jul 2026 00:00:01 GMT"
TAGS = (None, '"one"', '"two"', 'W/"one"', "one", '"ONE"', '""')
DATES = (None, DATE, LATER)


async def received_from(host: Host) -> bytes:
    received = bytearray()
    files = files_of(host)
    async with remote_of(host, files) as remote:
        await remote.open()
        while (chunk := await remote.next()) is not None:
            del received[chunk.offset :]
            received += chunk.data
            host.mark_read("vocal", len(received))
    await files.aclose()
    return bytes(received)


def identifies(first: tuple[str | None, str | None], part: tuple[str | None, str | None]) -> bool:
    """Whether a file with *first* as tag and date is certainly the one with *part*."""
    (tag, date), (other_tag, other_date) = first, part
    if tag is None and other_tag is None:
        return date is not None and date == other_date
    return tag == other_tag and tag is not None and tag.startswith('"')


@pytest.mark.parametrize(
    "first, part",
    list(product([('"one"', None), ('"one"', DATE), (None, DATE)], product(TAGS, DATES))),
)
async def test_a_part_is_joined_only_if_its_strong_validator_is_that_of_the_file(
    first: tuple[str | None, str | None], part: tuple[str | None, str | None]
) -> None:
    is_same = identifies(first, part)
    second = Answer(
        AUDIO if is_same else OTHER, tag=part[0], changed=part[1], takes_conditions=False
    )
    whole = Answer(OTHER, tag=first[0], changed=first[1], takes_ranges=False)
    with Host(Answer(tag=first[0], changed=first[1], cut=CUT), second, whole) as host:
        received = await received_from(host)
    assert received == (AUDIO if is_same else OTHER)
    assert [request.range for request in host.requests] == [None, f"bytes={CUT}-"] + [None] * (
        not is_same
    )


@pytest.mark.parametrize("tag", [None, 'W/"one"'])
async def test_a_part_of_an_earlier_run_is_not_joined_with_an_unknown_file(
    tag: str | None, tmp_path: Path
) -> None:
    unknown = Answer(OTHER, tag=tag, takes_conditions=False)
    target = tmp_path / TASK_ID / "vocal.mp3"
    target.parent.mkdir()
    half_of(target)
    with Host(unknown, Answer(OTHER, tag='"two"')) as host:
        async with VocalSepClient("a-key", base_url=host.url) as client:
            report = await client.download_stems(host.task("vocal"), tmp_path)
    assert report.paths["vocal"].read_bytes() == OTHER
    assert [request.range for request in host.requests] == [f"bytes={HALF}-", None]


async def test_a_stream_goes_on_where_it_was_with_the_whole_file_sent_again() -> None:
    unknown = Answer(OTHER, tag=None, takes_conditions=False)
    with Host(Answer(cut=CUT), unknown, Answer()) as host:
        async with VocalSepClient("a-key", base_url=host.url) as client:
            received = b""
            async with client.open_stem(host.task("vocal"), "vocal") as stream:
                async for data in stream:
                    received += data
                    host.mark_read("vocal", len(received))
    assert received == AUDIO
