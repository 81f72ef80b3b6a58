"""`DownloadOptions`: checked when they are made."""

import math
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vocalsep_async import DownloadOptions, DownloadProgress, InvalidArgumentError


def test_only_the_directory_is_required() -> None:
    to = DownloadOptions("some/where")
    assert (to.stems, to.template) == (None, "{task_id}/{stem}{ext}")
    assert (to.max_concurrency, to.overwrite, to.max_bytes) == (4, "if-different", 1 << 30)
    assert (to.timeout, to.patience, to.min_bytes_per_minute) == (None, None, 1 << 16)


def test_a_template_without_a_stem_will_do_where_one_is_asked_for() -> None:
    to = DownloadOptions("a", stems=["vocal", "vocal"], template="{label}{ext}")
    assert to.template == "{label}{ext}"


def test_equal_options_compare_equal() -> None:
    assert DownloadOptions("a", stems=["vocal"]) == DownloadOptions(Path("a"), stems=("vocal",))


@pytest.mark.parametrize(
    "options, hint",
    [
        ({"stems": "vocal"}, "stems"),
        ({"stems": []}, "stems"),
        ({"template": "{nothing}"}, "template"),
        ({"template": "{label}{ext}"}, r"template must contain \{stem\}.*stems=\[\"vocal\"\]"),
        ({"template": "{label}{ext}", "stems": ["vocal", "drums"]}, r"must contain \{stem\}"),
        ({"template": "{{stem}}"}, r"must contain \{stem\}"),
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"overwrite": "sometimes"}, "overwrite"),
        ({"max_bytes": 0}, "max_bytes"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": math.nan}, "timeout"),
        ({"timeout": "60"}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"patience": -0.1}, "patience"),
        ({"patience": math.nan}, "patience"),
        ({"patience": "60"}, "patience"),
        ({"patience": True}, "patience"),
        ({"min_bytes_per_minute": 0}, "min_bytes_per_minute"),
        ({"min_bytes_per_minute": 1.5}, "min_bytes_per_minute"),
        ({"min_bytes_per_minute": True}, "min_bytes_per_minute"),
    ],
)
def test_an_unusable_option_is_named(options: dict[str, Any], hint: str) -> None:
    with pytest.raises(InvalidArgumentError, match=hint):
        DownloadOptions("a", **options)


@pytest.mark.parametrize(
    "name, given, kept",
    [
        ("timeout", None, None),
        ("timeout", math.inf, None),
        ("timeout", 5, 5.0),
        ("patience", None, None),
        ("patience", math.inf, math.inf),
        ("patience", 0, 0.0),
        ("min_bytes_per_minute", None, None),
        ("min_bytes_per_minute", 1, 1),
    ],
)
def test_bounds_of_time_and_pace_are_kept_as_given(name: str, given: Any, kept: Any) -> None:
    assert getattr(DownloadOptions("a", **{name: given}), name) == kept


class BytesPath(os.PathLike[bytes]):
    def __fspath__(self) -> bytes:
        return b"some/where"


class PlainCallable:
    def __call__(self, progress: DownloadProgress) -> None:
        raise AssertionError(progress)


class AsyncCallable:
    async def __call__(self, progress: DownloadProgress) -> None:
        raise AssertionError(progress)

    async def callback(self, progress: DownloadProgress) -> None:
        raise AssertionError(progress)


async def asynchronous(*args: object) -> None:
    raise AssertionError(args)


@pytest.mark.parametrize("value", ["some/where", ".", Path("some/where"), Path("/")])
def test_the_directory_is_a_path_or_a_string(value: str | Path) -> None:
    assert DownloadOptions(value).directory == Path(value)


@pytest.mark.parametrize("value", [None, 7, b"bytes", "", "  ", "a\0b", ["a"], BytesPath()])
def test_a_directory_that_is_not_a_path_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^the directory must be a path$"):
        DownloadOptions(value)


def test_on_progress_is_a_plain_callable_or_none() -> None:
    reports: list[DownloadProgress] = []
    for value in (None, print, reports.append, partial(print, "it is"), PlainCallable()):
        assert DownloadOptions(".", on_progress=value).on_progress is value


@pytest.mark.parametrize(
    "value", [7, "print", asynchronous, partial(asynchronous, 1), AsyncCallable().callback]
)
def test_on_progress_refuses_coroutine_functions_and_what_cannot_be_called(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^on_progress must be a plain function"):
        DownloadOptions(".", on_progress=value)


def test_on_progress_refuses_an_object_with_an_async_call() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^on_progress must be a plain function"):
        DownloadOptions(".", on_progress=AsyncCallable())
