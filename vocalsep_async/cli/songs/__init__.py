"""The command that separates songs.

`sources` reads which songs are given, and `labels` names each of them; `quote` says what they will
cost, and `question` asks; `run` separates them, `progress` shows each of them, and `summary` says
what became of them.
"""
