"""Disks that are full, broken or closed: an error that says so, the old file, nothing half done."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from downloads.hosts import (
    AUDIO,
    PATIENCE,
    TASK_ID,
    Answer,
    Host,
    hidden_below,
    left_open,
    saving,
    traced,
    why_no_strace,
)
from sampling import sampled

from vocalsep_async import DownloadError, VocalSepClient

LARGE = AUDIO * 12
OLD = b"as it was before"
RENAME = "?rename,?renameat,?renameat2"


@pytest.fixture
def host() -> Iterator[Host]:
    large, small = [Answer(LARGE)], [Answer()]
    with Host(drums=small, vocal=large, bass=small) as host:
        yield host


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory that holds another version of one stem."""
    folder = tmp_path / "saved"
    (folder / TASK_ID).mkdir(parents=True)
    (folder / TASK_ID / "vocal.mp3").write_bytes(OLD)
    return folder


def output_of(command: list[str]) -> Any:
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def vocal_in(folder: Path) -> Path:
    return folder / TASK_ID / "vocal.mp3"


def assert_only_vocal_is_missing(output: Any, folder: Path, number: int) -> None:
    assert output["files"] == {"drums": True, "bass": True}
    assert set(output["errors"]) == {"vocal"}
    problem, path = output["errors"]["vocal"]
    assert f"the disk reported: {os.strerror(number)}" in problem
    assert path == str(vocal_in(folder))
    assert "Signature" not in problem
    assert vocal_in(folder).read_bytes() == OLD
    for stem in ("drums", "bass"):
        assert (folder / TASK_ID / f"{stem}.mp3").read_bytes() == AUDIO
    assert hidden_below(folder) == []


def test_a_file_above_the_limit_of_the_process_is_an_error_of_its_stem(
    host: Host, folder: Path
) -> None:
    output = output_of(saving(host, folder, limit=1_000_000))
    assert_only_vocal_is_missing(output, folder, errno.EFBIG)
    output = output_of(saving(host, folder))
    assert output == {"files": {"vocal": True, "drums": False, "bass": False}, "errors": {}}
    assert vocal_in(folder).read_bytes() == LARGE


@pytest.mark.skipif(why_no_strace() is not None, reason=str(why_no_strace()))
@pytest.mark.parametrize(
    "calls, error, when",
    sampled(
        [
            pytest.param("write", "ENOSPC", "1", id="full from the start"),
            pytest.param("write", "ENOSPC", "2+", id="full after a while"),
            pytest.param("write", "EDQUOT", "3", id="over the quota"),
            pytest.param("write", "EIO", "2", id="broken"),
            pytest.param("fsync", "EIO", "1", id="the content is not on the disk"),
            pytest.param(RENAME, "EXDEV", "1", id="another device"),
            pytest.param(RENAME, "EACCES", "1", id="a target that may not be replaced"),
        ],
        one_in=3,
    ),
)
def test_a_disk_error_is_an_error_of_its_stem(
    host: Host, folder: Path, calls: str, error: str, when: str
) -> None:
    part = folder / TASK_ID / ".vocal.mp3.part"
    # The file is named by its path, and relative to the descriptor of its folder.
    inject = ["-P", str(part), "-P", part.name]
    inject += ["-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={when}"]
    output = output_of([*traced("--seccomp-bpf", *inject), *saving(host, folder)])
    assert_only_vocal_is_missing(output, folder, getattr(errno, error))


@pytest.mark.skipif(why_no_strace() is not None, reason=str(why_no_strace()))
@pytest.mark.parametrize(
    "calls, place",
    [
        pytest.param("fsync", ".", id="the names are not on the disk"),
        pytest.param("close", "vocal.mp3", id="an error on close"),
    ],
)
def test_a_disk_error_after_the_rename_is_reported(
    host: Host, folder: Path, calls: str, place: str
) -> None:
    path = (folder / TASK_ID / place).resolve()
    inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:error=EIO"]
    output = output_of([*traced("--seccomp-bpf", "-P", str(path), *inject), *saving(host, folder)])
    assert f"the disk reported: {os.strerror(errno.EIO)}" in output["errors"]["vocal"][0]
    assert "vocal" not in output["files"]
    assert vocal_in(folder).read_bytes() == LARGE
    assert hidden_below(folder) == []


@pytest.mark.skipif(why_no_strace() is not None, reason=str(why_no_strace()))
@pytest.mark.parametrize(
    "error", sampled(["EINVAL", "EOPNOTSUPP", "ENOSYS"], one_in=3), ids=lambda error: error
)
def test_a_file_system_without_fsync_holds_files_that_are_not_fetched_again(
    host: Host, folder: Path, error: str
) -> None:
    inject = [*traced("--seccomp-bpf", "-e", "trace=fsync", "-e", f"inject=fsync:error={error}")]
    first = output_of([*inject, *saving(host, folder)])
    assert first == {"files": {"vocal": True, "drums": True, "bass": True}, "errors": {}}
    again = output_of([*inject, *saving(host, folder)])
    assert again == {"files": {"vocal": False, "drums": False, "bass": False}, "errors": {}}
    assert len(host.requests) == 3
    assert vocal_in(folder).read_bytes() == LARGE
    assert hidden_below(folder) == []


@pytest.mark.anyio
class TestWithoutAWritableTarget:
    """Without a writable target, no file is requested."""

    async def _problems(self, host: Host, folder: Path) -> list[DownloadError]:
        with left_open(folder) as still_open:
            async with VocalSepClient("a-key", base_url=host.url) as client:
                with pytest.raises(DownloadError) as caught:
                    await client.download_stems(host.task("vocal", "drums"), folder)
        assert still_open == []
        assert caught.value.report is not None
        assert caught.value.report.files == ()
        assert host.requests == []
        return list(caught.value.report.errors)

    async def test_a_directory_below_a_file_is_an_error(self, host: Host, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(OLD)
        for problem in await self._problems(host, tmp_path / "file" / "saved"):
            assert os.strerror(errno.ENOTDIR) in str(problem)
        assert (tmp_path / "file").read_bytes() == OLD

    async def test_a_folder_at_each_target_is_an_error(self, host: Host, tmp_path: Path) -> None:
        for stem in ("vocal", "drums"):
            (tmp_path / TASK_ID / f"{stem}.mp3").mkdir(parents=True)
        for problem in await self._problems(host, tmp_path):
            assert os.strerror(errno.EISDIR) in str(problem)

    async def test_a_link_that_leads_out_is_an_error(self, host: Host, tmp_path: Path) -> None:
        (tmp_path / "saved").mkdir()
        (tmp_path / "outside").mkdir()
        (tmp_path / "saved" / TASK_ID).symlink_to(tmp_path / "outside")
        for problem in await self._problems(host, tmp_path / "saved"):
            assert "a link leads out of the directory" in str(problem)
        assert list((tmp_path / "outside").iterdir()) == []

    @pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EMFILE])
    async def test_a_part_that_cannot_be_created_is_an_error(
        self, host: Host, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        opened = os.open

        def refuse(path: Any, flags: int, *rest: Any, **options: Any) -> int:
            if flags & os.O_CREAT:
                raise OSError(number, os.strerror(number))
            return opened(path, flags, *rest, **options)

        monkeypatch.setattr(os, "open", refuse)
        for problem in await self._problems(host, folder):
            assert f"the disk reported: {os.strerror(number)}" in str(problem)
        assert vocal_in(folder).read_bytes() == OLD

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    async def test_a_read_only_directory_is_an_error(self, host: Host, tmp_path: Path) -> None:
        (tmp_path / "closed").mkdir(mode=0o500)
        for problem in await self._problems(host, tmp_path / "closed"):
            assert os.strerror(errno.EACCES) in str(problem)
