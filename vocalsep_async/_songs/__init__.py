"""Songs: from a file or a link to its stems, with one creation for each song.

`identity` says which songs are the same, `claims` gives each of them one creation, `separation` is
the way of one song, and `runner` runs many of them.
"""
