"""Stems to disk: whole or not at all, resumed, never outside of their directory.

`naming` and `choosing` say what is saved and under which name, `links` where it is, `remote` reads
it from its host in spite of cuts; `claim`, `note` and `partfile` keep what has arrived, `saving`
brings the two together, `manifest` lists what is whole. `job` does it for the stems of a task,
`downloader` for a client; `streaming` is for those who store elsewhere.
"""
