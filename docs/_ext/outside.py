"""Links to the documents beside the README: they are pages of the site, too, below ``project``."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

_LINK = re.compile(r"(?<=\]\()(?:\.\./)+(CHANGELOG|CONTRIBUTING|SECURITY)\.md")


def _lead_to_pages(app: Sphinx, page: str, source: list[str]) -> None:
    del app
    top = "../" * page.count("/")
    source[0] = _LINK.sub(lambda link: f"{top}project/{link[1].lower()}.md", source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Change the links as pages are read: as they stand, they are right in the repository."""
    app.connect("source-read", _lead_to_pages)
    return {"parallel_read_safe": True}
