"""Decides when each task is polled and which task is polled next.

`hazards` models how long tasks take, `queue_entry` is one task in the schedule, `queue` orders the
tasks of one batch (with the heaps of `heaps`), and `scheduler` alternates between queues.

Everything here is pure: functions take ``now`` and random draws as arguments and do no I/O, so
that tests and the simulation run the same code in virtual time.
"""
