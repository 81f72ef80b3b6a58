"""What one call saves: its options, where files go, and how many are fetched at once."""

from __future__ import annotations

import anyio
from attrs import frozen

from vocalsep_async._downloads.paths import Template
from vocalsep_async.downloads import DownloadOptions


@frozen
class DownloadPlan:
    """The options of a call or a batch, and the limit that all its tasks share."""

    options: DownloadOptions
    template: Template
    limiter: anyio.CapacityLimiter

    @classmethod
    def of(cls, options: DownloadOptions) -> DownloadPlan:
        """A plan on its own: no other call shares its limit."""
        return cls(
            options, Template(options.template), anyio.CapacityLimiter(options.max_concurrency)
        )
