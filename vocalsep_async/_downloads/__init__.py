"""Downloads of stems: each file whole or not at all, resumed after cuts, inside its directory.

`downloader` finds the record of a task and starts a `job`, which saves some stems of it at a time:
`selection` says which stems, `paths` under which names, `source` reads a file from its host,
`partfile` keeps what has arrived, `transfer` connects the two, and `manifest` lists the files that
are complete. `disk` holds the primitives of the file system, `stream` the reader behind
``open_stem``.
"""
