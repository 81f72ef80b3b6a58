"""Many tasks on one budget: ids go in, outcomes come out as they are known.

`intake` reads the ids, `cohort` follows those that were taken in together, `unasked` keeps those
that nobody looked at yet, `saving` has stems put on disk, `stats` counts, `runner` is what users
hold.
"""

from vocalsep_async.batch.runner import BatchRunner
from vocalsep_async.batch.saving import FILES_AT_ONCE, Save
from vocalsep_async.batch.stats import BatchStats

__all__ = ["FILES_AT_ONCE", "BatchRunner", "BatchStats", "Save"]
