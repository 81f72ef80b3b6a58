"""How long finished tasks stay unnoticed: the schedule of the package against its rivals.

    python -m benchmarks.simulation [--rows ROW ...] [--seeds N] [--quick]

Discrete events in virtual time: the very scheduler and pacer of the package, without asyncio and
without HTTP, against a server that takes 20 requests in any 10 s. From a REPL in the root of the
repository:

    >>> from benchmarks.simulation import run
    >>> run("batch 100", policy="ours", types_known=True, seeds=3)
"""

from benchmarks.simulation.running import run

__all__ = ["run"]
