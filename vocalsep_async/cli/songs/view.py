"""Shows one run of songs: prints its outcomes, and its progress."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import anyio
from attrs import define, evolve, field

from vocalsep_async import (
    BatchStats,
    CreationUncertainError,
    SongRunner,
    SongStats,
    TaskOutcome,
    VocalSepClient,
)
from vocalsep_async.cli.activity import Activity, Snapshot
from vocalsep_async.cli.output import Output, outcome_line
from vocalsep_async.cli.process import ExitCode, exit_code_of, worse
from vocalsep_async.cli.songs.board import SongBoard

if TYPE_CHECKING:
    from vocalsep_async.cli.recording import RunRecorder

_SAMPLE_INTERVAL = 1.0
"""Seconds between the samples of a report."""


@define
class SongView:
    """The view of one run of songs.

    Args:
        client: separates them.
        activity: what the client does; it listens to the events of *client*.
        board: what each song is doing; it gets the progress of the run.
        output: where to show it.
        songs: how many there are.

    Attributes:
        recorder: gets outcomes and samples for a report; None if there is no report.
        stats: the numbers of the run; None if it never began.
        uncertain: the errors of songs that may have been created.
    """

    _client: VocalSepClient
    _activity: Activity
    _board: SongBoard
    _output: Output
    _songs: int
    recorder: RunRecorder | None = field(init=False, default=None)
    stats: SongStats | None = field(init=False, default=None)
    uncertain: list[CreationUncertainError] = field(init=False, factory=list)

    async def run(self, runner: SongRunner, *, as_json: bool) -> ExitCode:
        """Separate all songs; return the worst exit code of all.

        Raises:
            VocalSepError: the run could not begin, or could not go on.
        """
        code = ExitCode.SUCCEEDED
        async with runner:
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._output.show_progress, lambda: self._seen(runner))
                    group.start_soon(self._sample_repeatedly, runner)
                    try:
                        async for outcome in runner:
                            code = worse(code, exit_code_of(outcome))
                            self._on_outcome(outcome, as_json=as_json)
                    finally:
                        # A last sample, so that the report ends with the final counts.
                        self._sample(runner)
                        # The display and the samples never end by themselves.
                        group.cancel_scope.cancel()
            finally:
                self.stats = runner.stats
        return code

    def _on_outcome(self, outcome: TaskOutcome, *, as_json: bool) -> None:
        self._output.result(outcome.to_dict(keep_links=True) if as_json else outcome_line(outcome))
        self._board.on_outcome(outcome.label)
        if isinstance(outcome.error, CreationUncertainError):
            self.uncertain.append(outcome.error)
        age = self._activity.take_age(outcome.task_id)
        if self.recorder is not None:
            self.recorder.on_outcome(outcome, age)

    async def _sample_repeatedly(self, runner: SongRunner) -> None:
        while True:
            self._sample(runner)
            await anyio.sleep(_SAMPLE_INTERVAL)

    def _sample(self, runner: SongRunner) -> None:
        if self.recorder is not None:
            self.recorder.sample(self._seen(runner))

    def _seen(self, runner: SongRunner) -> Snapshot:
        return self.snapshot(runner.stats)

    def snapshot(self, stats: SongStats) -> Snapshot:
        """The progress of a run with these numbers."""
        finished = stats.songs - stats.pending
        batch = BatchStats(
            # Those that were not read yet are pending, too.
            pending=self._songs - finished,
            finished=finished,
            succeeded=stats.succeeded,
            failed=finished - stats.succeeded,
            polls=0,
            throttled=0,
            retried=0,
            rate=self._client.stats.rate,
            mean_delay=None,
            eta=math.inf,
        )
        seen = self._activity.snapshot(batch)
        # By its name and state a song says more than the id of its task.
        return evolve(seen, slowest=(), songs=self._board.lines(), noun="song")
