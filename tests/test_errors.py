"""The error family: one root, and every member travels whole."""

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from payloads import SIGNATURE, TASK_ID, link

import vocalsep_async
from vocalsep_async import DownloadReport, errors
from vocalsep_async.errors import APIError, ErrorAction, VocalSepError
from vocalsep_async.models import SeparationTask, Stems, TaskStatus

FAMILY = sorted(
    (
        member
        for _, member in inspect.getmembers(errors, inspect.isclass)
        if issubclass(member, BaseException)
    ),
    key=lambda member: member.__name__,
)
API_ERRORS = [member for member in FAMILY if issubclass(member, APIError)]
TASK = SeparationTask(
    task_id=TASK_ID, status=TaskStatus.SUCCESS, stems=Stems(vocal=link("vocal")), raw={"a": [1]}
)


def example(cls: type[VocalSepError]) -> VocalSepError:
    """An error of *cls* with no attribute at its default."""
    if issubclass(cls, APIError):
        return cls(
            "please wait",
            code=430,
            http_status=200,
            task_id=TASK_ID,
            retry_after=2.5,
            action=ErrorAction.THROTTLE,
            hint="Slow down.",
            in_envelope=False,
        )
    if issubclass(cls, errors.TransportError):
        return cls("it broke", may_have_arrived=False, action=ErrorAction.RAISE)
    if issubclass(cls, errors.DecodeError):
        return cls("it is odd", http_status=502, in_envelope=True)
    if issubclass(cls, errors.TaskFailedError):
        return cls("it failed", TASK)
    if issubclass(cls, errors.TaskTimeoutError):
        last = example(errors.ServerError)
        return cls("too late", task_id=TASK_ID, task=TASK, polls=7, last_error=last)
    return a_download_error() if issubclass(cls, errors.DownloadError) else cls("it is wrong")


def a_download_error() -> VocalSepError:
    error = errors.DownloadError(
        "no room", task_id=TASK_ID, stem="vocal", path="a/b", url="<c/…/d>"
    )
    error.report = DownloadReport(task_id=TASK_ID, files=())
    return error


def state(error: BaseException) -> Any:
    """All that can be read off *error*, errors inside it included."""
    inside = {
        name: state(value) if isinstance(value, BaseException) else value
        for name, value in vars(error).items()
    }
    return type(error), str(error), error.args, inside


def test_every_error_is_public_and_under_the_root() -> None:
    for member in FAMILY:
        assert issubclass(member, VocalSepError)
        assert getattr(vocalsep_async, member.__name__) is member
        assert f" {member.__name__}" in (errors.__doc__ or "")


@pytest.mark.parametrize(
    "travel",
    [
        copy.copy,
        copy.deepcopy,
        *(
            lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))
            for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
        ),
    ],
)
@pytest.mark.parametrize("cls", FAMILY)
def test_every_error_travels_with_all_its_attributes(
    cls: type[VocalSepError], travel: Callable[[VocalSepError], VocalSepError]
) -> None:
    error = example(cls)
    error.add_note("seen in job 7")
    arrived = travel(error)
    assert arrived is not error
    assert state(arrived) == state(error)
    assert str(arrived)


@pytest.mark.parametrize("cls", FAMILY)
def test_an_error_can_still_be_raised_after_it_travelled(cls: type[VocalSepError]) -> None:
    with pytest.raises(cls, match=str(example(cls))[:8]):
        raise pickle.loads(pickle.dumps(example(cls)))


@pytest.mark.parametrize("cls", [errors.RequestTimeoutError, errors.TaskTimeoutError])
def test_what_took_too_long_is_a_builtin_timeout_too(cls: type[VocalSepError]) -> None:
    error = example(cls)
    assert isinstance(error, TimeoutError)
    assert isinstance(pickle.loads(pickle.dumps(error)), TimeoutError)


@pytest.mark.parametrize("cls", [errors.ConfigurationError, errors.InvalidArgumentError])
def test_a_wrong_argument_or_set_up_is_a_value_error_too(cls: type[VocalSepError]) -> None:
    assert issubclass(cls, ValueError)


def test_a_wrong_argument_is_no_error_of_the_set_up() -> None:
    assert not issubclass(errors.InvalidArgumentError, errors.ConfigurationError)
    assert not issubclass(errors.ConfigurationError, errors.InvalidArgumentError)


def test_a_task_that_is_not_found_is_named_in_one_sentence() -> None:
    hint = errors.TaskNotFoundError.hint
    error = errors.TaskNotFoundError("", code=200, http_status=200, task_id="abc")
    assert str(error) == f"task not found: 'abc'. {hint}"
    error = errors.TaskNotFoundError("null", code=422, http_status=200, task_id="abc")
    assert str(error) == f"task not found: 'abc' (code 422: null). {hint}"


@pytest.mark.parametrize("cls", API_ERRORS)
def test_an_api_error_tells_all_it_knows(cls: type[APIError]) -> None:
    error = example(cls)
    assert isinstance(error, APIError)
    assert (error.code, error.http_status, error.message) == (430, 200, "please wait")
    assert (error.task_id, error.retry_after) == (TASK_ID, 2.5)
    assert error.action is ErrorAction.THROTTLE
    assert not error.in_envelope
    assert str(error).endswith(". Slow down.")
    assert "code 430: please wait" in str(error)
    assert f"'{TASK_ID}'" in str(error)


@pytest.mark.parametrize("cls", API_ERRORS)
def test_without_a_hint_of_its_own_an_error_gives_that_of_its_class(cls: type[APIError]) -> None:
    error = cls("no.", code=-1, http_status=500)
    assert "code -1: no" in str(error)
    assert str(error).endswith(f". {cls.hint}".rstrip())
    assert error.task_id is None
    assert error.retry_after is None
    assert error.action is ErrorAction.RAISE
    assert error.in_envelope


@pytest.mark.parametrize("message", ["", "...", ". "])
def test_an_api_error_without_words_says_so(message: str) -> None:
    error = APIError(message, code=451, http_status=200)
    assert str(error) == "code 451: no message."
    assert error.message == message


@pytest.mark.parametrize(
    "cls, action",
    [
        (VocalSepError, ErrorAction.RAISE),
        (errors.TransportError, ErrorAction.RETRY),
        (errors.RequestTimeoutError, ErrorAction.RETRY),
        (errors.DecodeError, ErrorAction.RETRY),
    ],
)
def test_what_may_go_away_is_asked_again(cls: type[VocalSepError], action: ErrorAction) -> None:
    assert cls("it broke").action is action


def test_a_broken_request_may_have_arrived_unless_it_is_known_not_to() -> None:
    assert errors.TransportError("it broke").may_have_arrived
    assert errors.DecodeError("it is odd").http_status is None
    assert not errors.DecodeError("it is odd").in_envelope


@pytest.mark.parametrize("cls", [errors.TaskFailedError, errors.TaskTimeoutError])
def test_an_error_about_a_task_shows_no_signed_link(cls: type[VocalSepError]) -> None:
    assert SIGNATURE not in repr(example(cls)) + str(example(cls))
