"""kie.ai's newer route, on which the tasks of all models are called jobs.

Its record of a finished separation is not published. So every link is read that is in one of the
places documented for other models or for the older route.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vocalsep_async.errors import InvalidArgumentError, InvalidParametersError
from vocalsep_async.models import SeparationType, TaskStatus
from vocalsep_async.providers._results import links_of, opened
from vocalsep_async.providers._spellings import usual_record
from vocalsep_async.providers.base import ErrorRule, Provider, Request
from vocalsep_async.providers.kie import KIE

_MODEL = "ai-music-api/separate-vocals"


class KieJobs(Provider):
    """The provider behind `KIE_JOBS`."""

    def creation_request(
        self,
        *,
        type: SeparationType | None,  # noqa: A002 - the API's word
        callback_url: str | None,
        source_task_id: str | None = None,
        audio_id: str | None = None,
        audio_url: str | None = None,
        stem_name: str | None = None,
    ) -> Request:
        """The request that creates a job; this route demands no callback URL.

        Raises:
            InvalidArgumentError: a stem name with another type than split_stem_advanced.
        """
        if stem_name is not None and type is not SeparationType.SPLIT_STEM_ADVANCED:
            raise InvalidArgumentError("stem_name is for the type split_stem_advanced alone")
        asked = {
            "task_id": source_task_id,
            "audio_id": audio_id,
            "audio_url": audio_url,
            "type": type,
            "stem_name": stem_name,
        }
        given = {name: value for name, value in asked.items() if value is not None}
        callback = {} if callback_url is None else {"callBackUrl": callback_url}
        return Request(
            "POST", self.creation_path, json={"model": _MODEL, **callback, "input": given}
        )

    def read_record(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """The record of a job in the usual spelling."""
        usual = usual_record(record)
        return {
            **_asked_for(record.get("param")),
            **usual,
            "successFlag": record.get("state") or usual.get("successFlag"),
            "response": links_of(record.get("resultJson"), record=record),
            "errorCode": _first_of(record, "failCode", "fail_code") or usual.get("errorCode"),
            "errorMessage": _first_of(record, "failMsg", "fail_msg") or usual.get("errorMessage"),
        }

    def read_callback(
        self, record: Mapping[str, Any], *, code: int, message: str
    ) -> Mapping[str, Any]:
        """The record in a callback, which brings a status of its own.

        Without one, and with a code that says that the task goes on, the code decides.
        """
        usual = super().read_callback(record, code=code, message=message)
        if not record.get("state") or usual["successFlag"] is TaskStatus.PENDING:
            return usual
        return {**usual, "successFlag": record["state"]}


def _first_of(record: Mapping[str, Any], *keys: str) -> Any:
    return next((value for key in keys if (value := record.get(key))), None)


def _asked_for(param: Any) -> dict[str, Any]:
    """What a record says of its creation; the link to the song is left where it is."""
    request = opened(param)
    song = opened(request.get("input")) if isinstance(request, dict) else None
    if not isinstance(song, dict):
        return {}
    return {"type": song.get("type"), "audioId": song.get("audio_id")}


KIE_JOBS = KieJobs(
    name="kie_jobs",
    codes=KIE.codes,
    creation_codes={
        500: ErrorRule(
            InvalidParametersError,
            hint="This route answers wrong parameters with code 500, and its own failures, too.",
        )
    },
    statuses={
        "waiting": TaskStatus.PENDING,
        "queuing": TaskStatus.PENDING,
        "generating": TaskStatus.PENDING,
        "success": TaskStatus.SUCCESS,
        "fail": TaskStatus.GENERATE_AUDIO_FAILED,
    },
    poll_path="/api/v1/jobs/recordInfo",
    creation_path="/api/v1/jobs/createTask",
    credits_path=KIE.credits_path,
    hosts=KIE.hosts,
    prices=KIE.prices,
)
"""kie.ai's jobs, by its documentation of November 2026; never tried against the live service."""
