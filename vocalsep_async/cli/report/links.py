"""Where the page finds a file on disk."""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from urllib.parse import quote


def link(file: Path, folder: Path) -> str:
    """The address of *file* for a page in *folder*: relative, so that both can move together.

    On another drive there is no relative one, and the address is that of the file.
    """
    try:
        # The text of the paths decides, as it does in a browser: links are not followed.
        relative = os.path.relpath(file, folder)
    except ValueError:
        return file.absolute().as_uri()
    return "/".join(quote(os.fsencode(part), safe="") for part in PurePath(relative).parts)
