"""Searches files and published archives for strings that resemble real API keys.

    python tests/key_scan.py dist/*

Keys in tests are built from parts or too short to match, so that every match counts as a real key.
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

PATTERNS = {
    "a bearer token": re.compile(r"\b(?:Bearer|Basic)\s+[A-Za-z0-9._~+/-]{28,}", re.IGNORECASE),
    "32 hex digits named as a key": re.compile(
        r"(?:key|token|secret|passw(?:or)?d|authorization)[\"']?\s*[:=(,]\s*"
        r"[\"']?[0-9a-f]{32,}\b",
        re.IGNORECASE,
    ),
    "an API key": re.compile(r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]*[A-Za-z0-9]{24,}"),
    "a key of a cloud": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{35}\b"),
    "a token of a code host": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36}|\bglpat-[\w-]{20}"),
    "a token of a package index": re.compile(r"\bpypi-[\w-]{50,}"),
    "a web token": re.compile(r"\beyJ[\w-]{16,}\.[\w-]{16,}\.[\w-]{16,}"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a signed query": re.compile(r"\b(?:X-Amz-)?Signature=[0-9a-f]{64}\b", re.IGNORECASE),
}


def possible_keys(text: str) -> list[str]:
    """The strings in *text* that resemble a real key, shortened."""
    return [
        f"{kind} ({found[0][:12]}…)"
        for kind, pattern in PATTERNS.items()
        for found in pattern.finditer(text)
    ]


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """The name and content of each file in a wheel or a source distribution."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            for name in wheel.namelist():
                yield name, wheel.read(name)
        return
    with tarfile.open(archive) as sdist:
        for member in sdist:
            content = sdist.extractfile(member)
            if content is not None:
                yield member.name, content.read()


def findings(files: Iterable[tuple[str, bytes]]) -> list[str]:
    """One line for each possible key in a name or content."""
    return [
        f"{name}: {found}"
        for name, content in files
        for found in possible_keys(f"{name}\n{content.decode('latin-1')}")
    ]


def main(archives: Iterable[str]) -> None:
    """Scan the archives, and exit with 1 if a key or no file at all was found."""
    files = [each for archive in archives for each in members(Path(archive))]
    found = findings(files)
    print(*found, f"{len(files)} files scanned for keys, {len(found)} found", sep="\n")  # noqa: T201
    sys.exit(bool(found) or not files)


if __name__ == "__main__":
    main(sys.argv[1:])
