"""When to look, and whom to look at next.

What decides is pure: it takes ``now`` and never asks a clock, draws no random numbers of its own,
and does no I/O. Only `Durations.save` and `Durations.load` touch a file, and only users call them.
"""
