"""The machinery of `BatchRunner`: ids go in, outcomes come out as they become known.

`intake` reads the ids; `tracker` holds the open tasks, of which `backlog` keeps the ids that were
never polled and `groups` those that were added simultaneously; `recorder` writes outcomes to a
journal, `saver` saves stems, `counters` counts, and `runner` connects them.
"""
