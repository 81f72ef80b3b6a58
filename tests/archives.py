"""Checks that a wheel and a source distribution hold what they must, and are built alike twice.

    python tests/archives.py dist again

Both folders hold a wheel and a source distribution. Every published file of the project is in the
source distribution, so that the tests can be run from it, and the wheel has the package alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from key_scan import members
from published import ROOT, published_files

PACKAGE = "vocalsep_async/"
NEEDED = {
    *(
        f"{PACKAGE}{name}"
        for name in ("__init__.py", "py.typed", "_version.py", "pytest_plugin.py")
    ),
    f"{PACKAGE}contrib/_redis/limiter.lua",
    f"{PACKAGE}contrib/_redis/learned.lua",
    *(
        f"{PACKAGE}cli/report/templates/{name}"
        for name in ("report.html.j2", "player.css", "player.js", "script.js", "style.css")
    ),
}
"""Files whose loss no import of the package would show, and those that everything begins with."""
METADATA = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
GENERATED = {"PKG-INFO"}
"""What only the source distribution has."""

Files = Mapping[str, bytes]


def published() -> dict[str, bytes]:
    """The content of each file of the project, by its name."""
    files = {file.relative_to(ROOT).as_posix(): file for file in published_files()}
    return {name: file.read_bytes() for name, file in files.items() if name not in GENERATED}


def problems(wheel: Files, sdist: Files, project: Files) -> Iterator[str]:
    """One line for each file that is missing, too many or not what it is in the project."""
    package = {name: content for name, content in project.items() if name.startswith(PACKAGE)}
    yield from (f"the project lacks {name}" for name in sorted(NEEDED - set(package)))
    yield from _differences("the wheel", _without_metadata(wheel), package)
    metadata = {name.partition("/")[2] for name in wheel if _is_metadata(name)}
    yield from (f"the wheel lacks its {name}" for name in sorted(METADATA - metadata))
    yield from (f"the wheel has a strange {name}" for name in sorted(metadata - METADATA))
    unpacked = {name.partition("/")[2]: content for name, content in sdist.items()}
    ours = {name: content for name, content in unpacked.items() if name not in GENERATED}
    yield from _differences("the source distribution", ours, project)
    missing = sorted(GENERATED - set(unpacked))
    yield from (f"the source distribution lacks its {name}" for name in missing)


def _is_metadata(name: str) -> bool:
    return name.partition("/")[0].endswith(".dist-info")


def _without_metadata(wheel: Files) -> dict[str, bytes]:
    return {name: content for name, content in wheel.items() if not _is_metadata(name)}


def _differences(which: str, found: Files, expected: Files) -> Iterator[str]:
    yield from (f"{which} lacks {name}" for name in sorted(set(expected) - set(found)))
    yield from (f"{which} must not have {name}" for name in sorted(set(found) - set(expected)))
    yield from (
        f"{name} in {which} is not that of the project"
        for name in sorted(set(found) & set(expected))
        if found[name] != expected[name]
    )


def unequal(first: Path, second: Path) -> Iterator[str]:
    """One line for each archive that the other folder does not have, byte by byte."""
    for name in sorted({each.name for folder in (first, second) for each in folder.iterdir()}):
        both = [folder / name for folder in (first, second)]
        if not all(each.is_file() for each in both):
            yield f"only one of two builds made {name}"
        elif both[0].read_bytes() != both[1].read_bytes():
            yield f"two builds made two different {name}"


def main(first: str, second: str) -> None:
    """Check the archives, and exit with 1 if something is wrong."""
    (wheel,), (sdist,) = Path(first).glob("*.whl"), Path(first).glob("*.tar.gz")
    held, packed = dict(members(wheel)), dict(members(sdist))
    found = [*problems(held, packed, published()), *unequal(Path(first), Path(second))]
    _say(found, f"{len(held)} files in the wheel, {len(packed)} in the source distribution")
    sys.exit(bool(found))


def _say(found: Iterable[str], counts: str) -> None:
    print(*found, counts, sep="\n")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
