"""The command that separates songs.

`sources` reads which songs are given, and `labels` names each of them.
"""
