"""What is known about how long tasks take: to keep between runs, and to read in policies."""

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
    """What is known about how long one kind of task takes; read-only, always up to date.

    Policies get one as `PollContext.durations`; `Durations.view` gives one for tests of policies.
    """

    _model: HazardModel = field(alias="model")

    def __repr__(self) -> str:
        return f"<DurationView: {self.completions} completions>"

    @property
    def completions(self) -> int:
        """Finished tasks that were learned from; 0 while only the built-in guess is known."""
        return self._model.completions

    def expected_delay(self, since: float, age: float) -> float:
        """Expected seconds for which a task has been finished, unnoticed, at *age*.

        This is the age of information of a task last seen running at age *since*:
        ``E[max(0, age - C) | C > since]``, where C is how long the task takes.

        Args:
            since: age in seconds at which the task was last seen running; 0 if it never was.
            age: age in seconds to compute it for, at least *since*.
        """
        return self._model.expected_delay(since, age)

    def due(self, since: float, delay: float) -> float:
        """The age in seconds at which `expected_delay` reaches *delay* seconds.

        Args:
            since: age in seconds at which the task was last seen running; 0 if it never was.
            delay: expected delay in seconds, above 0.
        """
        return self._model.due(since, delay)

    def remaining(self, since: float, share: float) -> float:
        """Seconds until only *share* of the tasks that run at age *since* still run.

        Args:
            since: age in seconds.
            share: fraction of the tasks, above 0 and at most 1.
        """
        return self._model.remaining(since, share)


class Durations:
    """What a client has learned about durations: one model a type, and one for unknown types.

    `save` and `load` carry it from one run to the next, `to_dict` and `update_from` through any
    store that takes JSON.
    """

    def __init__(self) -> None:
        self._hazards = HazardTable()

    def __repr__(self) -> str:
        return f"<Durations: {self._hazards.model(None).completions} completions>"

    def view(self, type: SeparationTypeName | SeparationType | None = None) -> DurationView:  # noqa: A002 - the API's own word
        """What is known about tasks of *type*; None for tasks whose type is not known.

        Raises:
            InvalidArgumentError: there is no such type.
        """
        return DurationView(self._hazards.model(separation_type(type)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was learned to the JSON file *path*, whole or not at all.

        Raises:
            OSError: the file cannot be written.
        """
        target = Path(path)
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
        """Take over what an earlier run saved to *path*.

        Raises:
            InvalidArgumentError: the file was not written by `save`; nothing is taken over.
            OSError: the file cannot be read.
        """
        content = Path(path).read_bytes()
        try:
            self.update_from(json.loads(content))
        except (ValueError, RecursionError) as error:
            raise InvalidArgumentError(f"{path} holds no saved durations: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """What was learned, as plain JSON values."""
        return self._hazards.to_dict()

    def update_from(self, saved: Any) -> None:
        """Take over what `to_dict` gave, instead of what was learned so far.

        Raises:
            ValueError: it is not that; nothing is taken over.
        """
        self._hazards.update_from(saved)
