"""Many tasks on one budget: ids go in, outcomes come out as they are known.

`intake` reads the ids, `group` follows those that were taken in together, `unasked` keeps those
that nobody looked at yet, `tracker` knows who is open; what is known goes through `recording` (into
a journal) and `saving` (stems to disk) to `runner`, which is what users hold; `stats` counts.
"""
