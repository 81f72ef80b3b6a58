"""Nothing that is published with this package looks like somebody's key."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import string
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import key_scan
import pytest

ROOT = Path(__file__).parents[1]


def published() -> list[Path]:
    """What git tracks or would; in a copy without git, all that is not hidden or generated."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists() and shutil.which("git"):
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        files = (ROOT / name for name in run.stdout.split("\0") if name)
        return [file for file in files if file.is_file()]
    return list(walked(ROOT))


def walked(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not is_generated(Path(folder, name))]
        yield from (Path(folder, name) for name in names)


def is_generated(folder: Path) -> bool:
    if folder.name in {"__pycache__", "dist"} or (folder / "pyvenv.cfg").exists():
        return True
    return folder.name.startswith(".")


def test_no_file_of_the_repository_holds_what_looks_like_a_real_key() -> None:
    files = published()
    assert {ROOT / "README.md", ROOT / "tests" / "key_scan.py"} <= set(files)
    named = ((str(file.relative_to(ROOT)), file.read_bytes()) for file in files)
    assert key_scan.findings(named) == []


def test_a_copy_without_git_is_walked(tmp_path: Path) -> None:
    kept, left = ["README.md", "tests/a.py"], [".nox/b.py", "__pycache__/c.pyc", "env/pyvenv.cfg"]
    for name in (*kept, *left, "env/d.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert set(walked(tmp_path)) == {tmp_path / name for name in kept}


def letters(number: int) -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(number))


# Made anew each time, so that this file holds none itself.
REAL: dict[str, Callable[[], str]] = {
    "a header": lambda: f"Authorization: Bearer {secrets.token_hex(16)}",
    "a header in JSON": lambda: f'{{"authorization": "Bearer {letters(32)}"}}',
    "an environment": lambda: f"VOCALSEP_API_KEY={secrets.token_hex(16)}",
    "an argument": lambda: f'VocalSepClient("x", api_key="{secrets.token_hex(16)}")',
    "a dictionary": lambda: f"{{'api_key': '{secrets.token_hex(16)}'}}",
    "a prefix": lambda: f"sk-{letters(32)}",
    "a long prefix": lambda: f"sk-proj-{letters(48)}",
    "a code host": lambda: f"ghp_{letters(36)}",
    "an index": lambda: f"pypi-{letters(80)}",
    "a cloud": lambda: f"AKIA{letters(16).upper()}",
    "a web token": lambda: f"eyJ{letters(20)}.{letters(40)}.{letters(43)}",
    "a private key": lambda: "-----BEGIN " + "RSA PRIVATE KEY-----",
    "a signed link": lambda: f"https://cdn.example/?X-Amz-Signature={secrets.token_hex(32)}",
}


@pytest.mark.parametrize("real", REAL.values(), ids=REAL)
def test_what_looks_like_a_real_key_is_found_and_not_shown_whole(real: Callable[[], str]) -> None:
    text = real()
    found = key_scan.looks_real(f"before\n{text}\nafter")
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
def test_what_tests_and_documents_hold_is_no_key(text: str) -> None:
    assert key_scan.looks_real(text) == []


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
@pytest.mark.parametrize("real, status", [(True, 1), (False, 0)], ids=["a key", "none"])
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


def test_a_scan_of_nothing_is_no_success() -> None:
    with pytest.raises(SystemExit) as caught:
        key_scan.main([])
    assert caught.value.code
