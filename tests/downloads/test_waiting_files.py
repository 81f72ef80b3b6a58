"""Files whose hosts are away: other files go on, what is there is kept, and calls end in time."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.to_thread import run_sync
from downloads.hosts import (
    AUDIO,
    PATIENCE,
    QUICK,
    TASK_ID,
    Answer,
    Host,
    hidden_below,
    left_open,
)

from vocalsep_async import (
    ClientClosedError,
    DownloadError,
    DownloadOptions,
    TransportError,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async._downloads import patience, plan, source
from vocalsep_async._downloads.folder import Directory
from vocalsep_async._downloads.job import download_error
from vocalsep_async._downloads.partfile import PartFile
from vocalsep_async._downloads.patience import Patience
from vocalsep_async._downloads.source import Chunk, FileIdentity
from vocalsep_async._downloads.stream import Stream

pytestmark = pytest.mark.anyio

CUT = 100_000
AWAY = Answer(status=503, headers=("Retry-After: 300",))
BRIEFLY_AWAY = Answer(status=503)


def client_of(host: Host) -> VocalSepClient:
    return VocalSepClient("a-key", base_url=host.url, retry=QUICK, rate_limit=None)


async def failure_of(host: Host, folder: Path, **options: Any) -> DownloadError:
    async with client_of(host) as client:
        with pytest.raises(DownloadError) as caught:
            await client.download_stems(host.task("vocal"), folder, **options)
    return caught.value


async def test_a_file_that_waits_for_its_host_lets_the_others_go_on(tmp_path: Path) -> None:
    answers = {"vocal": [AWAY], "drums": [Answer()], "bass": [Answer()]}
    with Host(**answers) as host:
        async with client_of(host) as client, anyio.create_task_group() as group:

            async def save() -> None:
                with pytest.raises(ClientClosedError):
                    await client.download_stems(host.task(*answers), tmp_path, max_concurrency=1)

            group.start_soon(save)
            # In whichever order: a file that kept the only slot would keep the last one from it.
            await run_sync(
                host.wait_until, lambda host: {each.name for each in host.requests} == set(answers)
            )
            await client.aclose()


async def test_a_file_that_waited_for_its_host_is_fetched_after_all(tmp_path: Path) -> None:
    answers = {"vocal": [BRIEFLY_AWAY, Answer()], "drums": [Answer()], "bass": [Answer()]}
    with Host(**answers) as host:
        async with client_of(host) as client:
            task = host.task(*answers)
            report = await client.download_stems(task, tmp_path, max_concurrency=1)
    assert set(report.paths) == set(answers)
    assert sorted(each.name for each in host.requests) == ["bass", "drums", "vocal", "vocal"]


async def test_the_files_that_wait_are_bounded_in_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "MAX_RESTING_FILES", 3)
    stems = ("vocal", "drums", "bass", "guitar", "piano", "strings", "synth", "brass")
    with Host(AWAY) as host, left_open(tmp_path) as still_open:
        async with client_of(host) as client, anyio.create_task_group() as group:

            async def save() -> None:
                with pytest.raises(ClientClosedError):
                    await client.download_stems(host.task(*stems), tmp_path, max_concurrency=2)

            group.start_soon(save)
            await run_sync(host.wait_until, lambda host: len(host.requests) == 5)
            await anyio.wait_all_tasks_blocked()
            assert len(hidden_below(tmp_path)) == 5
            await client.aclose()
    assert len(host.requests) == 5
    assert still_open == []


@pytest.mark.parametrize("is_stream", [False, True], ids=["download_stems", "open_stem"])
async def test_closing_the_client_ends_a_file_that_waits(
    tmp_path: Path, *, is_stream: bool
) -> None:
    with Host(AWAY) as host:
        async with client_of(host) as client:

            async def fetch() -> None:
                if is_stream:
                    await client.open_stem(host.task("vocal"), "vocal").__aenter__()
                else:
                    await client.download_stems(host.task("vocal"), tmp_path)

            fetching = asyncio.ensure_future(fetch())
            await run_sync(host.wait_until, lambda host: len(host.requests) == 1)
            await anyio.wait_all_tasks_blocked()
            await client.aclose()
            # The next try would be due after a minute.
            with pytest.raises(ClientClosedError):
                await asyncio.wait_for(fetching, PATIENCE / 4)
    assert len(host.requests) == 1


# What is kept


async def test_the_error_says_what_is_kept_and_the_same_call_goes_on_from_there(
    tmp_path: Path,
) -> None:
    with Host(Answer(cut=CUT), *[BRIEFLY_AWAY] * 2, Answer()) as host:

        def read(progress: Any) -> None:
            host.mark_read("vocal", progress.done)

        error = await failure_of(host, tmp_path, patience=0, on_progress=read)
        part = tmp_path / TASK_ID / ".vocal.mp3.part"
        kept = f"100.0 of 307.2 kB are kept in {part}; the same call goes on from there"
        assert str(error).endswith(f"the file host answered 503; {kept}")
        async with client_of(host) as client:
            report = await client.download_stems(host.task("vocal"), tmp_path)
    assert report.paths["vocal"].read_bytes() == AUDIO
    assert host.requests[-1].range == f"bytes={CUT}-"


@pytest.mark.parametrize(
    "done, size, amount",
    [
        (2_600_000, 5_200_000, "2.6 of 5.2 MB"),
        (100, 1_000_000, "0.0 of 1.0 MB"),
        (99_960, 999_999, "100.0 of 1000.0 kB"),
        (1_000_000, None, "1.0 MB"),
        (64, None, "0.1 kB"),
    ],
)
def test_the_amount_that_is_kept_is_in_a_unit_that_fits_the_file(
    tmp_path: Path, done: int, size: int | None, amount: str
) -> None:
    part = PartFile.open(Directory(tmp_path), tmp_path / "vocal.mp3", "a/vocal")
    part.write([Chunk(0, bytes(done), FileIdentity('"one"', size))])
    part.keep()
    error = download_error("a", "vocal", None, None, VocalSepError("no"), kept=part)
    kept = f"{amount} are kept in {tmp_path / '.vocal.mp3.part'}; the same call goes on from there"
    assert str(error).endswith(f": no; {kept}")


@pytest.mark.parametrize(
    "answer, options",
    [
        pytest.param(Answer(hold=CUT), {"overwrite": "always"}, id="always from the start"),
        pytest.param(Answer(hold=CUT, tag=None), {}, id="not resumable"),
        pytest.param(AWAY, {}, id="nothing arrived"),
    ],
)
async def test_an_error_after_which_the_same_call_starts_again_promises_nothing(
    tmp_path: Path, answer: Answer, options: dict[str, Any]
) -> None:
    with Host(answer) as host:
        error = await failure_of(host, tmp_path, timeout=0.3, **options)
        host.release()
    assert "kept" not in str(error)
    if "overwrite" not in options:
        assert hidden_below(tmp_path) == []


# Timeouts


async def test_a_call_ends_after_its_timeout_and_the_next_one_goes_on(tmp_path: Path) -> None:
    with Host(Answer(hold=CUT), Answer()) as host, left_open(tmp_path) as still_open:
        error = await failure_of(host, tmp_path, timeout=1)
        host.release()
        assert "the download was not complete after its timeout of 1 s" in str(error)
        kept = (tmp_path / TASK_ID / ".vocal.mp3.part").stat().st_size
        assert isinstance(error.__cause__, TransportError)
        async with client_of(host) as client:
            report = await client.download_stems(host.task("vocal"), tmp_path, timeout=PATIENCE)
    assert report.paths["vocal"].read_bytes() == AUDIO
    assert host.requests[-1].range == f"bytes={kept}-"
    assert still_open == []


async def test_the_fault_before_the_timeout_is_told(tmp_path: Path) -> None:
    with Host(AWAY) as host:
        error = await failure_of(host, tmp_path, timeout=0.3)
    assert "timeout of 0.3 s, and the last try failed: the file host answered 503" in str(error)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("options", [{"timeout": PATIENCE}, {"patience": math.inf}])
async def test_a_host_that_is_away_is_waited_for_as_long_as_the_call_has_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(patience, "FILE_HOST_GAP", 0.001)
    with Host(*[BRIEFLY_AWAY] * (QUICK.attempts + 3), Answer()) as host:
        async with client_of(host) as client:
            report = await client.download_stems(host.task("vocal"), tmp_path, **options)
    assert report.paths["vocal"].read_bytes() == AUDIO


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("seconds", [None, PATIENCE])
@pytest.mark.parametrize("given", [None, 0])
async def test_a_batch_waits_for_a_file_host_as_long_as_its_task_has_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float | None, given: float | None
) -> None:
    monkeypatch.setattr(patience, "FILE_HOST_GAP", 0.001)
    answers = [*[BRIEFLY_AWAY] * (QUICK.attempts + 3), Answer()]
    options = DownloadOptions(tmp_path, patience=given)
    with Host(vocal=answers) as host:
        async with (
            client_of(host) as client,
            client.track([TASK_ID], timeout=seconds, download_to=options) as batch,
        ):
            outcomes = [outcome async for outcome in batch]
    assert outcomes[0].succeeded is (seconds is not None and given is None)


# Settings


async def test_patience_and_least_pace_reach_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Patience] = []

    class Recorded(source.RemoteFile):
        def __init__(self, *given: Any, **options: Any) -> None:
            made.append(options["patience"])
            super().__init__(*given, **options)

    monkeypatch.setattr("vocalsep_async._downloads.downloader.RemoteFile", Recorded)
    settings: dict[str, Any] = {"patience": 5, "min_bytes_per_minute": 1000}
    with Host(Answer()) as host:
        async with client_of(host) as client:
            task = host.task("vocal")
            await client.download_stems(task, tmp_path, **settings)
            async with client.open_stem(task, "vocal", **settings) as stream:
                assert isinstance(stream, Stream)
            async with client.open_stem(task, "vocal", min_bytes_per_minute=None):
                pass
    assert made == [Patience(5.0, min_bytes_per_minute=1000)] * 2 + [
        Patience(min_bytes_per_minute=None)
    ]
