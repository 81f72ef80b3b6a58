"""The machinery of `BatchRunner`: ids go in, outcomes come out as they become known.

`intake` reads the ids; `tracker` holds the open tasks, of which `backlog` keeps the ids that were
never polled and `groups` those that were added simultaneously; `delivery` is the way of an outcome
to the consumer; `recorder` connects the batch to its journal, `counters` counts, and `runner`
connects them all.
"""
