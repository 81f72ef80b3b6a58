"""No published file contains a string that resembles a real API key."""

from __future__ import annotations

import io
import secrets
import string
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import key_scan
import pytest
from published import ROOT, published_files, visible_files


def test_no_file_of_the_repository_contains_a_possible_key() -> None:
    files = published_files()
    assert {ROOT / "README.md", ROOT / "tests" / "key_scan.py"} <= set(files)
    named = ((str(file.relative_to(ROOT)), file.read_bytes()) for file in files)
    assert key_scan.findings(named) == []


def test_a_copy_without_git_is_searched_without_generated_files(tmp_path: Path) -> None:
    included, excluded = (
        ["README.md", "tests/a.py", ".ci/run", ".gitignore"],
        [".nox/b.py", "__pycache__/c.pyc", "env/pyvenv.cfg"],
    )
    for name in (*included, *excluded, "env/d.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert set(visible_files(tmp_path)) == {tmp_path / name for name in included}


def letters(number: int) -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(number))


# Generated for each test, so that this file contains no such key.
REAL: dict[str, Callable[[], str]] = {
    "a bearer header": lambda: f"Authorization: Bearer {secrets.token_hex(16)}",
    "a bearer header in JSON": lambda: f'{{"authorization": "Bearer {letters(32)}"}}',
    "an environment variable": lambda: f"VOCALSEP_API_KEY={secrets.token_hex(16)}",
    "a keyword argument": lambda: f'VocalSepClient("x", api_key="{secrets.token_hex(16)}")',
    "a dictionary": lambda: f"{{'api_key': '{secrets.token_hex(16)}'}}",
    "a prefixed key": lambda: f"sk-{letters(32)}",
    "a key with a long prefix": lambda: f"sk-proj-{letters(48)}",
    "a token of a code host": lambda: f"ghp_{letters(36)}",
    "a token of a package index": lambda: f"pypi-{letters(80)}",
    "a key of a cloud": lambda: f"AKIA{letters(16).upper()}",
    "a web token": lambda: f"eyJ{letters(20)}.{letters(40)}.{letters(43)}",
    "a private key": lambda: "-----BEGIN " + "RSA PRIVATE KEY-----",
    "a signed link": lambda: f"https://cdn.example/?X-Amz-Signature={secrets.token_hex(32)}",
}


@pytest.mark.parametrize("real", REAL.values(), ids=REAL)
def test_the_scan_finds_a_possible_key_and_does_not_show_it_in_full(
    real: Callable[[], str],
) -> None:
    text = real()
    found = key_scan.possible_keys(f"before\n{text}\nafter")
    assert found
    assert not [line for line in found if text in line and len(text) > 32]


@pytest.mark.parametrize(
    "text",
    [
        'VocalSepClient("a-key")',
        "export VOCALSEP_API_KEY=...",
        'headers["authorization"] == f"Bearer {KEY}"',
        '"taskId": "0a1b2c3d4e5f60718293a4b5c6d7e8f9"',
        "Bearer tokens are sent in one header and nowhere else",
    ],
)
def test_the_scan_ignores_placeholders_in_tests_and_documents(text: str) -> None:
    assert key_scan.possible_keys(text) == []


def wheel_of(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path / "a.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("a/b.py", content)
    return path / "a.whl"


def sdist_of(path: Path, content: bytes) -> Path:
    with tarfile.open(path / "a.tar.gz", "w:gz") as sdist:
        member = tarfile.TarInfo("a/b.py")
        member.size = len(content)
        sdist.addfile(member, io.BytesIO(content))
    return path / "a.tar.gz"


@pytest.mark.parametrize("packed", [wheel_of, sdist_of])
@pytest.mark.parametrize(
    "real, status", [(True, 1), (False, 0)], ids=["with a key", "without a key"]
)
def test_a_key_in_an_archive_fails_the_build(
    tmp_path: Path, packed: Callable[[Path, bytes], Path], status: int, *, real: bool
) -> None:
    key = letters(32) if real else "a-key"
    archive = packed(tmp_path, f"key = 'sk-{key}'\n".encode())
    command = [sys.executable, key_scan.__file__, str(archive)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (status, "")
    assert f"{status} found" in run.stdout
    assert key not in run.stdout


def test_a_scan_without_archives_fails() -> None:
    with pytest.raises(SystemExit) as caught:
        key_scan.main([])
    assert caught.value.code
