"""Check a built site: ``python docs/check_site.py FOLDER``.

Each link leads to a file of the site and to a place in it, and each public name of the package has
an entry. What Sphinx itself checks are references; links that are written out pass it.
"""

from __future__ import annotations

import ast
import sys
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote, urlsplit

PACKAGE = "vocalsep_async"
NO_API = frozenset({"cli"})
"""Packages with a reference of another kind: that of the command line."""
HELPERS = frozenset(
    {
        "downloads.checked_min_bytes",
        "downloads.checked_patience",
        "durations.view_of",
        "models.as_status",
        "models.separation_type",
    }
)
"""Functions of public modules that are for this package only."""


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places = {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag
        for name, value in attrs:
            if name in {"href", "src"} and value:
                self.links.append(value)
            if name in {"id", "name"} and value:
                self.places.add(value)


def broken_links(site: Path) -> Iterator[str]:
    """The links of all pages that lead nowhere, each with its page."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    for path, page in pages.items():
        for link in page.links:
            if not _leads_somewhere(link, path, pages):
                yield f"{path.relative_to(site)}: {link}"


def _leads_somewhere(link: str, path: Path, pages: dict[Path, _Page]) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = path.parent.joinpath(unquote(parts.path)).resolve() if parts.path else path
    if target in pages:
        return unquote(parts.fragment) in pages[target].places
    return target.is_file()


def public_names(package: Path) -> dict[str, list[str]]:
    """The names that users import, by module; read, so that no framework need be installed."""
    modules = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in _public(package)}
    listed = {name: [*_listed(module)] for name, module in modules.items()}
    return {
        name: listed[name] or [*_defined(name, module)]
        for name, module in modules.items()
        # What a package lists is in modules of its own, whose paths are public for pickles only.
        if not listed.get(name.rpartition(".")[0])
    }


def _public(package: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        names = parts[:-1] if parts[-1] == "__init__" else parts
        if names and names[0] not in NO_API and not any(name.startswith("_") for name in names):
            yield ".".join(names), path


def _listed(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            yield from ast.literal_eval(node.value)


def _defined(name: str, module: ast.Module) -> Iterator[str]:
    for node in module.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if not node.name.startswith("_") and f"{name}.{node.name}" not in HELPERS:
            yield node.name


def documented_names(site: Path) -> set[str]:
    """The names that have an entry: those of the inventory that Sphinx writes for other sites."""
    content = site.joinpath("objects.inv").read_bytes().split(b"\n", 4)[4]
    return {line.split(" ")[0] for line in zlib.decompress(content).decode().splitlines()}


def main() -> None:
    """Say what is wrong, or how much was checked."""
    site = Path(sys.argv[1]).resolve()
    modules = public_names(Path(str(files(PACKAGE))))
    names = [f"{PACKAGE}.{module}.{name}" for module in modules for name in modules[module]]
    entries = documented_names(site)
    problems = [f"leads nowhere: {each}" for each in sorted(broken_links(site))]
    problems += [f"has no entry: {each}" for each in names if each not in entries]
    if problems:
        sys.exit("\n".join(problems))
    sys.stdout.write(f"{len([*site.rglob('*.html')])} pages; all links lead somewhere\n")
    sys.stdout.write(f"{len(names)} public names; each has an entry\n")


if __name__ == "__main__":
    main()
