"""How long tasks take, as learned so far: for poll policies to read, and to save between runs."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from attrs import field, frozen

from vocalsep_async._scheduling.hazards import HazardModel, HazardTable
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.models import SeparationType, SeparationTypeName, separation_type


@frozen(repr=False)
class DurationView:
    """How long one type of task takes, as learned so far: read-only, and always up to date.

    Poll policies get one as `PollContext.durations`; `Durations.view` returns one, for instance for
    the tests of a policy. Ages are seconds since the creation of a task.
    """

    # Not an argument: users get a view, and never make one.
    _model: HazardModel = field(init=False)

    def __repr__(self) -> str:
        return f"<DurationView: {self.completions} completions>"

    @property
    def completions(self) -> int:
        """Number of finished tasks learned from; 0 while only the built-in guess is known."""
        return self._model.completions

    def expected_delay(self, since: float, age: float) -> float:
        """Return the expected seconds for which a task has been finished, unnoticed, at *age*.

        This is the age of information of a task last seen running at age *since*,
        ``E[max(0, age - C) | C > since]``, where C is the duration of the task.

        Args:
            since: age in seconds at which the task was last seen running; 0 if it never was.
            age: age in seconds; up to *since* the expected delay is 0.
        """
        return self._model.expected_delay(since, age)

    def due(self, since: float, delay: float) -> float:
        """Return the age in seconds at which `expected_delay` reaches *delay*.

        Args:
            since: age in seconds at which the task was last seen running; 0 if it never was.
            delay: expected delay in seconds, at least 0.
        """
        return self._model.due(since, delay)

    def remaining(self, since: float, share: float) -> float:
        """Return the seconds until only *share* of the tasks that run at age *since* still run.

        Args:
            since: age in seconds.
            share: fraction of the tasks, above 0 and at most 1.
        """
        return self._model.remaining(since, share)


def view_of(model: HazardModel) -> DurationView:
    """The view of *model*, for the package itself; users call `Durations.view`."""
    view = DurationView()
    object.__setattr__(view, "_model", model)
    return view


class Durations:
    """How long tasks take, as the clients of an account have learned: for each type and for none.

    `save` and `load` carry what was learned from one run to the next in a file, `to_dict` and
    `update_from` through any other store that takes JSON.
    """

    def __init__(self) -> None:
        self._hazards = HazardTable()

    def __repr__(self) -> str:
        return f"<Durations: {self._hazards.model(None).completions} completions>"

    def view(self, type: SeparationTypeName | SeparationType | None = None) -> DurationView:  # noqa: A002 - the API's own word
        """Return what is known about tasks of *type*; it stays up to date.

        Args:
            type: the type; None for tasks of unknown type.

        Raises:
            InvalidArgumentError: there is no such type.
        """
        return view_of(self._hazards.model(separation_type(type)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was learned to the JSON file *path*, replacing it.

        Raises:
            OSError: the file cannot be written; an older file is still there, unchanged.
        """
        target = Path(path)
        # A device or a pipe is written to, and a link goes on leading where it led.
        if target.exists() and not target.is_file():
            target.write_text(json.dumps(self.to_dict()), encoding="ascii")
            return
        target = target.resolve()
        # A file beside the target can replace it atomically: a reader finds the old content or the
        # new one, never a part.
        with tempfile.NamedTemporaryFile(
            "w", encoding="ascii", dir=target.parent, prefix=target.name, delete=False
        ) as file:
            try:
                json.dump(self.to_dict(), file)
                file.close()
                Path(file.name).replace(target)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise

    def load(self, path: str | os.PathLike[str]) -> None:
        """Replace what was learned by what `save` wrote to *path*.

        Load before the first use of a client: then whichever is from more tasks, the loaded
        durations or those that other clients of the account have learned, counts for all of them.
        After the first use, the loaded durations replace those of all clients.

        Raises:
            InvalidArgumentError: the file was not written by `save`; nothing has changed.
            OSError: the file cannot be read.
        """
        content = Path(path).read_bytes()
        try:
            self.update_from(json.loads(content))
        except (ValueError, RecursionError) as error:  # deeply nested JSON is a RecursionError
            raise InvalidArgumentError(f"{path} holds no saved durations: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Return what was learned, as JSON values for `update_from`."""
        return self._hazards.to_dict()

    def update_from(self, saved: Any) -> None:
        """Replace what was learned by *saved*, a result of `to_dict`.

        Raises:
            ValueError: *saved* is not a result of `to_dict`; nothing has changed.
        """
        self._hazards.update_from(saved)
