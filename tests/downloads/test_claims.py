"""Files that are named by labels: the first task keeps its files, whatever comes later."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from batch.tracking import tracked
from downloads.stem_host import StemHost, client_of, names_in

from vocalsep_async import DownloadError, DownloadOptions, TaskOutcome, TaskRef
from vocalsep_async._downloads.claims import FileClaims
from vocalsep_async._downloads.folder import Directory
from vocalsep_async._downloads.paths import Template
from vocalsep_async.downloads import Overwrite
from vocalsep_async.errors import InvalidArgumentError

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("impatient")]


@pytest.fixture
def anyio_backend() -> str:
    """Sockets and files are real here, and so is time."""
    return "asyncio"


def flat(directory: Path, **options: Any) -> DownloadOptions:
    """One file for each task, named by its label, and no folders."""
    return DownloadOptions(directory, **{"stems": ["vocal"], "template": "{label}{ext}", **options})


def shown(directory: Path) -> list[str]:
    """The files that a user sees."""
    return sorted(
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_file() and ".vocalsep" not in path.parts
    )


async def saved(host: StemHost, *tasks: str | TaskRef, **options: Any) -> dict[str, TaskOutcome]:
    """The outcomes of a batch, whose tasks are saved one after the other."""
    found: dict[str, TaskOutcome] = {}
    async with client_of(host.url) as client:
        for task in tasks:
            (outcome,) = await tracked(client, [task], **options)
            found[outcome.task_id] = outcome
    return found


async def test_files_are_named_by_labels_without_a_folder_for_each_task(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        tasks = [TaskRef(host.add("a", "vocal"), label="Für Elise"), host.add("b", "vocal")]
        outcomes = await tracked(client, tasks, download_to=flat(tmp_path))
        assert all(each.succeeded for each in outcomes)
        assert shown(tmp_path) == ["Für Elise.mp3", "b.mp3"]
        assert names_in(tmp_path) == {"Für Elise.mp3", "b.mp3", ".vocalsep"}
        assert (tmp_path / "Für Elise.mp3").read_bytes() == host.files["a/vocal"]
        again = await tracked(client, tasks, download_to=flat(tmp_path))
        assert len(host.seen) == 2
    assert {each.task_id: each.files for each in again} == {
        each.task_id: each.files for each in outcomes
    }


@pytest.mark.parametrize("as_outcome", [False, True])
async def test_one_task_is_saved_under_the_label_of_its_ref_or_outcome(
    tmp_path: Path, *, as_outcome: bool
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task: Any = TaskRef(host.add("a", "vocal", "drums"), label="Song")
        if as_outcome:
            (task,) = await tracked(client, [task])
        template = "{label}/{stem}.{ext}"
        report = await client.download_stems(task, tmp_path, template=template)
        again = await client.download_stems(task, tmp_path, template=template)
    assert shown(tmp_path) == ["Song/drums.mp3", "Song/vocal.mp3"]
    assert report.paths == again.paths
    assert len(host.seen) == 2


@pytest.mark.parametrize(
    "one, other",
    [
        ("Song", "Song"),
        ("Song", "SONG"),
        ("AC/DC", "AC:DC"),
        ("é", "e\u0301"),
        ("Song", " Song. "),
        ("b", None),
    ],
)
async def test_a_second_task_with_the_same_file_is_an_error_before_anything_is_fetched(
    tmp_path: Path, one: str, other: str | None
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        tasks = [TaskRef(host.add("a", "vocal"), label=one)]
        tasks += [TaskRef(host.add("b", "vocal"), label=other)]
        outcomes = await tracked(client, tasks, download_to=flat(tmp_path))
        owner, loser = sorted(outcomes, key=lambda each: not each.succeeded)
        assert owner.succeeded
        assert not loser.succeeded
        error = loser.download_error
        assert isinstance(error, DownloadError)
        assert f"of task {loser.task_id!r}" in str(error)
        assert f"belongs to task {owner.task_id!r}" in str(error)
        assert "another label" in str(error)
        assert [each.name for each in host.seen] == [f"{owner.task_id}/vocal"]
    (path,) = owner.files.values()
    assert path.read_bytes() == host.files[f"{owner.task_id}/vocal"]
    assert len(shown(tmp_path)) == 1


@pytest.mark.parametrize("overwrite", ["if-different", "always", "never"])
async def test_the_first_task_stays_the_owner_in_every_later_run(
    tmp_path: Path, overwrite: Overwrite
) -> None:
    async with StemHost() as host:
        a = TaskRef(host.add("a", "vocal"), label="Song")
        b = TaskRef(host.add("b", "vocal"), label="song")
        to = flat(tmp_path, overwrite=overwrite)
        assert (await saved(host, a, download_to=to))["a"].succeeded
        later = await saved(host, b, a, b, download_to=to)
        assert later["a"].succeeded
        assert "belongs to task 'a'" in str(later["b"].download_error)
        assert host.requests_for("b/vocal") == []
    assert (tmp_path / "Song.mp3").read_bytes() == host.files["a/vocal"]


async def test_the_owner_stays_when_a_journal_hands_the_other_one_out_first(
    tmp_path: Path,
) -> None:
    async with StemHost() as host:
        a = TaskRef(host.add("a", "vocal"), label="Song")
        b = TaskRef(host.add("b", "vocal"), label="Song")
        journal, to = tmp_path / "journal", flat(tmp_path / "stems")
        # In the journal, b is before a; on the disk, a came first.
        await saved(host, b, journal=journal)
        await saved(host, a, download_to=to)
        async with client_of(host.url) as client:
            outcomes = await tracked(client, [b, a], journal=journal, download_to=to)
    found = {each.task_id: each for each in outcomes}
    assert found["a"].succeeded
    assert "belongs to task 'a'" in str(found["b"].download_error)
    assert host.requests_for("b/vocal") == []


async def test_no_stem_of_a_second_task_is_mixed_with_those_of_the_first(tmp_path: Path) -> None:
    template = "{label}/{stem}{ext}"
    async with StemHost() as host:
        a = TaskRef(host.add("a", "vocal"), label="Song")
        b = TaskRef(host.add("b", "vocal", "drums"), label="Song")
        to = DownloadOptions(tmp_path, template=template)
        outcomes = await saved(host, a, b, download_to=to)
    assert set(outcomes["b"].not_saved) == {"vocal", "drums"}
    assert host.requests_for("b/drums") == []
    assert shown(tmp_path) == ["Song/vocal.mp3"]


async def test_a_task_whose_download_was_cut_off_keeps_its_name(tmp_path: Path) -> None:
    async with StemHost() as host:
        a = TaskRef(host.add("a", "vocal"), label="Song")
        b = TaskRef(host.add("b", "vocal"), label="Song")
        host.cut("a/vocal", *[1000] * 3)
        first = await saved(host, a, b, download_to=flat(tmp_path))
        assert "are kept in" in str(first["a"].download_error)
        assert "belongs to task 'a', whose download is not complete" in str(
            first["b"].download_error
        )
        later = await saved(host, b, a, download_to=flat(tmp_path))
    assert later["a"].succeeded
    assert not later["b"].succeeded
    assert host.requests_for("b/vocal") == []


async def test_a_task_of_which_nothing_could_be_saved_gives_its_name_up(tmp_path: Path) -> None:
    async with StemHost() as host:
        a = TaskRef(host.add("a", "vocal", size=10), label="Song")
        b = TaskRef(host.add("b", "vocal"), label="Song")
        outcomes = await saved(host, a, b, download_to=flat(tmp_path))
    assert not outcomes["a"].succeeded
    assert outcomes["b"].succeeded
    assert (tmp_path / "Song.mp3").read_bytes() == host.files["b/vocal"]


async def test_a_task_keeps_the_name_of_a_file_that_could_not_be_fetched_again(
    tmp_path: Path,
) -> None:
    async with StemHost() as host:
        a = TaskRef(host.add("a", "vocal"), label="Song")
        b = TaskRef(host.add("b", "vocal"), label="Song")
        to = flat(tmp_path, overwrite="always")
        await saved(host, a, download_to=to)
        before = host.files["a/vocal"]
        host.files["a/vocal"] = b"too short"
        outcomes = await saved(host, a, b, download_to=to)
    assert not outcomes["a"].succeeded
    assert "belongs to task 'a'" in str(outcomes["b"].download_error)
    assert (tmp_path / "Song.mp3").read_bytes() == before


async def test_the_name_of_a_file_that_was_moved_away_is_free(tmp_path: Path) -> None:
    async with StemHost() as host:
        a = TaskRef(host.add("a", "vocal"), label="Song")
        b = TaskRef(host.add("b", "vocal"), label="Song")
        await saved(host, a, download_to=flat(tmp_path))
        (tmp_path / "Song.mp3").rename(tmp_path / "kept.mp3")
        assert (await saved(host, b, download_to=flat(tmp_path)))["b"].succeeded
        # From now on it is b's.
        assert not (await saved(host, a, download_to=flat(tmp_path)))["a"].succeeded


async def test_a_task_that_gets_another_label_leaves_the_old_file_alone(tmp_path: Path) -> None:
    async with StemHost() as host:
        host.add("a", "vocal")
        for label in ("Sogn", "Song"):
            outcomes = await saved(host, TaskRef("a", label=label), download_to=flat(tmp_path))
            assert outcomes["a"].succeeded
        b = TaskRef(host.add("b", "vocal"), label="Sogn")
        assert "was not saved for this task" in str(
            (await saved(host, b, download_to=flat(tmp_path)))["b"].download_error
        )
    assert shown(tmp_path) == ["Sogn.mp3", "Song.mp3"]


@pytest.mark.parametrize(
    "overwrite, content", [("if-different", b"mine"), ("never", b"mine"), ("always", None)]
)
async def test_a_file_of_no_task_is_not_overwritten_unless_that_is_asked_for(
    tmp_path: Path, overwrite: Overwrite, content: bytes | None
) -> None:
    own = tmp_path / "Song.mp3"
    own.write_bytes(b"mine")
    async with StemHost() as host:
        a = TaskRef(host.add("a", "vocal"), label="Song")
        outcome = (await saved(host, a, download_to=flat(tmp_path, overwrite=overwrite)))["a"]
    assert own.read_bytes() == (content or host.files["a/vocal"])
    assert outcome.succeeded is (overwrite != "if-different")
    if not outcome.succeeded:
        assert "is there already, and was not saved for this task" in str(outcome.download_error)
        assert host.seen == []


async def test_files_are_known_by_their_manifest_where_the_claims_are_lost(
    tmp_path: Path,
) -> None:
    async with StemHost() as host:
        a = TaskRef(host.add("a", "vocal"), label="Song")
        await saved(host, a, download_to=flat(tmp_path))
        shutil.rmtree(tmp_path / ".vocalsep" / "claims")
        assert (await saved(host, a, download_to=flat(tmp_path)))["a"].succeeded
        assert len(host.seen) == 1


async def test_a_name_that_a_label_makes_unusable_is_an_error_of_its_task_alone(
    tmp_path: Path,
) -> None:
    template = "CO{label}{ext}"
    async with StemHost() as host:
        tasks = [TaskRef(host.add(label.lower(), "vocal"), label=label) for label in ("N", "P")]
        outcomes = await saved(host, *tasks, download_to=flat(tmp_path, template=template))
        async with client_of(host.url) as client:
            with pytest.raises(InvalidArgumentError, match="not a valid file name"):
                await client.download_stems(tasks[0], tmp_path, template=template, stems=["vocal"])
    assert "'CON.mp3', which is not a valid file name" in str(outcomes["n"].download_error)
    assert outcomes["p"].succeeded


async def test_claims_that_cannot_be_written_are_an_error_of_each_stem(tmp_path: Path) -> None:
    (tmp_path / ".vocalsep").write_text("a file in the place of the folder")
    async with StemHost() as host:
        a = TaskRef(host.add("a", "vocal"), label="Song")
        outcome = (await saved(host, a, download_to=flat(tmp_path)))["a"]
    assert "the disk reported" in str(outcome.download_error)
    assert host.seen == []


# Claims by themselves


def claims_of(directory: Path, task_id: str, label: str | None = "Song") -> FileClaims:
    return FileClaims(Directory(directory), Template("{label}{ext}"), task_id, label)


def take(claims: FileClaims, directory: Path) -> None:
    claims.take({"vocal": [directory / "Song.mp3"]}, keeps_others=True)


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b'{"task_id": "a"}', b"\xff", b"[" * 99999])
def test_a_damaged_claim_is_one_of_no_task(tmp_path: Path, damage: bytes) -> None:
    take(claims_of(tmp_path, "a"), tmp_path)
    (claim,) = (tmp_path / ".vocalsep" / "claims").iterdir()
    claim.write_bytes(damage)
    take(claims_of(tmp_path, "b"), tmp_path)
    assert json.loads(claim.read_bytes()) == {"task_id": "b", "stem": "vocal"}


def test_a_claim_is_released_by_its_owner_alone(tmp_path: Path) -> None:
    take(claims_of(tmp_path, "a"), tmp_path)
    claims_of(tmp_path, "b").release({"vocal": []})
    with pytest.raises(InvalidArgumentError, match=r"remove .*claims") as caught:
        take(claims_of(tmp_path, "b"), tmp_path)
    assert str(next((tmp_path / ".vocalsep" / "claims").iterdir())) in str(caught.value)
    claims_of(tmp_path, "a").release({"vocal": [tmp_path / "Song.mp3"]})
    take(claims_of(tmp_path, "b"), tmp_path)


def test_a_link_in_the_place_of_the_claims_is_not_followed(tmp_path: Path) -> None:
    directory, outside = tmp_path / "stems", tmp_path / "outside"
    for folder in (directory / ".vocalsep", outside):
        folder.mkdir(parents=True)
    (directory / ".vocalsep" / "claims").symlink_to(outside)
    with pytest.raises(OSError, match=os.strerror(40) + "|leads out"):
        take(claims_of(directory, "a"), directory)
    assert list(outside.iterdir()) == []
