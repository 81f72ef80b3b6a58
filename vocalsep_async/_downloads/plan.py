"""What one call saves: its options, the names of its files, and how many it fetches at a time."""

from __future__ import annotations

import anyio
from attrs import frozen

from vocalsep_async._downloads.folder import Directory
from vocalsep_async._downloads.paths import Template
from vocalsep_async.downloads import DownloadOptions
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.policies import MAX_RESTING_FILES


@frozen
class DownloadPlan:
    """The options of a call or a batch, with the folder and the limits that its tasks share."""

    options: DownloadOptions
    directory: Directory
    template: Template
    limiter: anyio.CapacityLimiter
    """Of files that are transferred."""
    open_files: anyio.CapacityLimiter
    """Of those, and of files that wait for their hosts."""

    @classmethod
    def of(cls, options: DownloadOptions) -> DownloadPlan:
        """A plan with a limit of its own."""
        return cls(
            options,
            Directory(options.directory),
            Template(options.template),
            anyio.CapacityLimiter(options.max_concurrency),
            anyio.CapacityLimiter(options.max_concurrency + MAX_RESTING_FILES),
        )

    @classmethod
    def of_batch(cls, options: DownloadOptions) -> DownloadPlan:
        """A plan for several tasks.

        Raises:
            InvalidArgumentError: the files of different tasks would have the same paths.
        """
        plan = cls.of(options)
        if not plan.template.tells_tasks_apart:
            raise InvalidArgumentError(
                "template must contain {task_id} or {label} in a batch, or its tasks would "
                f"overwrite each other's files: {options.template!r} does not"
            )
        return plan
