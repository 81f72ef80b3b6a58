"""The errors: one base class, and every error survives pickling and copying."""

import copy
import inspect
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
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
WHEN = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
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
    return another_example(cls)


def another_example(cls: type[VocalSepError]) -> VocalSepError:
    if issubclass(cls, errors.CreationUncertainError):
        return cls("it may exist", label="song", began_at=WHEN, reason="no answer")
    if issubclass(cls, errors.NotBegunError):
        return cls("not begun", cause=example(errors.InsufficientCreditsError))
    if issubclass(cls, errors.StaleCallbackError):
        return cls("too old", skew=301.0)
    return a_download_error() if issubclass(cls, errors.DownloadError) else cls("it is wrong")


def a_download_error() -> VocalSepError:
    error = errors.DownloadError(
        "no room", task_id=TASK_ID, stem="vocal", path="a/b", url="<c/…/d>"
    )
    error.report = DownloadReport(task_id=TASK_ID, files=())
    return error


def state(error: BaseException) -> Any:
    """The type, message, arguments and attributes of *error*, including nested errors."""
    attributes = {
        name: state(value) if isinstance(value, BaseException) else value
        for name, value in vars(error).items()
    }
    return type(error), str(error), error.args, attributes


def test_every_error_is_public_and_derived_from_the_base_class() -> None:
    for member in FAMILY:
        assert issubclass(member, VocalSepError)
        assert getattr(vocalsep_async, member.__name__) is member
        assert f" {member.__name__}" in (errors.__doc__ or "")


@pytest.mark.parametrize(
    "duplicate",
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
def test_every_error_keeps_its_attributes_when_pickled_or_copied(
    cls: type[VocalSepError], duplicate: Callable[[VocalSepError], VocalSepError]
) -> None:
    error = example(cls)
    error.add_note("raised in job 7")
    duplicated = duplicate(error)
    assert duplicated is not error
    assert state(duplicated) == state(error)
    assert str(duplicated)


@pytest.mark.parametrize("cls", FAMILY)
def test_a_pickled_error_can_be_raised(cls: type[VocalSepError]) -> None:
    with pytest.raises(cls, match=str(example(cls))[:8]):
        raise pickle.loads(pickle.dumps(example(cls)))


@pytest.mark.parametrize("cls", [errors.RequestTimeoutError, errors.TaskTimeoutError])
def test_a_timeout_error_is_also_a_builtin_timeout_error(cls: type[VocalSepError]) -> None:
    error = example(cls)
    assert isinstance(error, TimeoutError)
    assert isinstance(pickle.loads(pickle.dumps(error)), TimeoutError)


@pytest.mark.parametrize("cls", [errors.ConfigurationError, errors.InvalidArgumentError])
def test_an_error_of_arguments_or_configuration_is_also_a_value_error(
    cls: type[VocalSepError],
) -> None:
    assert issubclass(cls, ValueError)


def test_errors_of_arguments_and_of_configuration_are_unrelated() -> None:
    assert not issubclass(errors.InvalidArgumentError, errors.ConfigurationError)
    assert not issubclass(errors.ConfigurationError, errors.InvalidArgumentError)


def test_the_error_of_an_unknown_task_names_it_in_one_sentence() -> None:
    hint = errors.TaskNotFoundError.hint
    error = errors.TaskNotFoundError("", code=200, http_status=200, task_id="abc")
    assert str(error) == f"task not found: 'abc'. {hint}"
    error = errors.TaskNotFoundError("null", code=422, http_status=200, task_id="abc")
    assert str(error) == f"task not found: 'abc' (code 422: null). {hint}"


@pytest.mark.parametrize("cls", API_ERRORS)
def test_an_api_error_exposes_all_its_fields(cls: type[APIError]) -> None:
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
def test_an_api_error_without_a_hint_uses_that_of_its_class(cls: type[APIError]) -> None:
    error = cls("no.", code=-1, http_status=500)
    assert "code -1: no" in str(error)
    assert str(error).endswith(f". {cls.hint}".rstrip())
    assert error.task_id is None
    assert error.retry_after is None
    assert error.action is ErrorAction.RAISE
    assert error.in_envelope


@pytest.mark.parametrize("message", ["", "...", ". "])
def test_an_api_error_without_a_message_states_that(message: str) -> None:
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
def test_the_class_of_an_error_decides_its_default_action(
    cls: type[VocalSepError], action: ErrorAction
) -> None:
    assert cls("it broke").action is action


def test_a_transport_error_assumes_by_default_that_the_request_arrived() -> None:
    assert errors.TransportError("it broke").may_have_arrived
    assert errors.DecodeError("it is odd").http_status is None
    assert not errors.DecodeError("it is odd").in_envelope


@pytest.mark.parametrize("cls", [errors.TaskFailedError, errors.TaskTimeoutError])
def test_an_error_about_a_task_shows_no_signed_link(cls: type[VocalSepError]) -> None:
    assert SIGNATURE not in repr(example(cls)) + str(example(cls))
