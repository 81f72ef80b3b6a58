"""What a batch saves of each task, checked before anything is sent."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vocalsep_async import DownloadOptions, DownloadProgress, InvalidArgumentError


def test_a_directory_alone_is_enough() -> None:
    to = DownloadOptions("some/where")
    assert (to.stems, to.template) == (None, "{task_id}/{stem}{ext}")
    assert (to.max_concurrency, to.overwrite, to.max_bytes) == (4, "if-different", 1 << 30)


def test_two_that_say_the_same_are_equal() -> None:
    assert DownloadOptions("a", stems=["vocal"]) == DownloadOptions(Path("a"), stems=("vocal",))


@pytest.mark.parametrize(
    "options, hint",
    [
        ({"stems": "vocal"}, "stems"),
        ({"stems": []}, "stems"),
        ({"template": "{nothing}"}, "template"),
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"overwrite": "sometimes"}, "overwrite"),
        ({"max_bytes": 0}, "max_bytes"),
    ],
)
def test_what_is_unusable_is_said_by_its_name(options: dict[str, Any], hint: str) -> None:
    with pytest.raises(InvalidArgumentError, match=hint):
        DownloadOptions("a", **options)


class BytesPath(os.PathLike[bytes]):
    def __fspath__(self) -> bytes:
        return b"some/where"


class PlainCallable:
    def __call__(self, progress: DownloadProgress) -> None:
        raise AssertionError(progress)


class AsyncCallable:
    async def __call__(self, progress: DownloadProgress) -> None:
        raise AssertionError(progress)

    async def told(self, progress: DownloadProgress) -> None:
        raise AssertionError(progress)


async def asynchronous(*args: object) -> None:
    raise AssertionError(args)


@pytest.mark.parametrize("value", ["some/where", ".", Path("some/where"), Path("/")])
def test_a_directory_is_a_path_or_the_text_of_one(value: str | Path) -> None:
    assert DownloadOptions(value).directory == Path(value)


@pytest.mark.parametrize("value", [None, 7, b"bytes", "", "  ", "a\0b", ["a"], BytesPath()])
def test_what_is_no_path_is_no_directory(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^the directory must be a path$"):
        DownloadOptions(value)


def test_progress_is_told_to_a_plain_function_or_to_nobody() -> None:
    told: list[DownloadProgress] = []
    for value in (None, print, told.append, partial(print, "it is"), PlainCallable()):
        assert DownloadOptions(".", on_progress=value).on_progress is value


@pytest.mark.parametrize(
    "value", [7, "print", asynchronous, partial(asynchronous, 1), AsyncCallable().told]
)
def test_what_cannot_be_called_or_would_have_to_be_awaited_is_told_nothing(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^on_progress must be a plain function"):
        DownloadOptions(".", on_progress=value)


def test_an_object_that_is_called_asynchronously_is_told_nothing() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^on_progress must be a plain function"):
        DownloadOptions(".", on_progress=AsyncCallable())
