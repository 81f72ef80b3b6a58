"""Places on disk are tried before anything is asked for."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vocalsep_async.cli.places import check_file, check_folder


def test_a_folder_is_made_with_those_above_it_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    check_folder(folder)
    check_folder(folder)
    assert list(folder.iterdir()) == []


def test_the_folder_of_a_file_is_made_and_the_file_is_not(tmp_path: Path) -> None:
    check_file(tmp_path / "a" / "report.html")
    assert list((tmp_path / "a").iterdir()) == []


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("yesterday's")
    check_file(file)
    assert file.read_text() == "yesterday's"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "below, number", [((), errno.EEXIST), (("x",), errno.ENOTDIR), (("x", "y"), errno.ENOTDIR)]
)
def test_where_a_file_stands_no_folder_can_be(
    tmp_path: Path, below: tuple[str, ...], number: int
) -> None:
    file = tmp_path / "file"
    file.touch()
    place = file.joinpath(*below)
    with pytest.raises(OSError, match="file") as caught:
        check_folder(place)
    assert caught.value.errno == number
    assert caught.value.filename == str(place)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as caught:
        check_file(tmp_path)
    assert caught.value.filename == str(tmp_path)


def test_a_folder_that_takes_no_files_is_said_so_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "a name nobody knows")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(PermissionError) as caught:
        check_folder(tmp_path)
    assert caught.value.filename == str(tmp_path)
