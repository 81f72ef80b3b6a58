"""Simulated delays until finished tasks are noticed, for the package and for other clients.

    python -m benchmarks.simulation [--rows ROW ...] [--seeds N] [--quick]

Discrete events in virtual time: the scheduler and the rate limiter of the package, without asyncio
and without HTTP, and a server that accepts 20 requests in any 10 s. In a REPL in the root of the
repository:

    >>> from benchmarks.simulation import run
    >>> run("batch 100", policy="ours", types_known=True, seeds=3)
"""

from benchmarks.simulation.running import run

__all__ = ["run"]
