"""Messages of the package in the words of the command line: its options, and no logins."""

from __future__ import annotations

import re

_OPTIONS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"allow_private_hosts=\('([^']*)',\) on the client", r"--allow-private-hosts \1"),
        (r"allow_private_hosts=True on the client", "--allow-private-hosts"),
        (r"ssl=ssl\.create_default_context\(cafile='ca\.pem'\) on the client", "--ca-file ca.pem"),
        (r"^proxy(?= must| names)", "--proxy"),
        (r"^allow_private_hosts(?=:)", "--allow-private-hosts"),
        (
            r"has the base_url ('[^']*'), not ('[^']*'); use another file, or the client .*",
            r"is of the API at \1, not \2: set VOCALSEP_BASE_URL=\1, or use another file",
        ),
        (r"(?<=heck )base_url", "VOCALSEP_BASE_URL"),
        (r"^template(?= must| may| gives|:)", "--template"),
        (r'stems=\["vocal"\]', "--stem vocal"),
        (r', use another template, or pass overwrite="always"', " or use another --template"),
        (r"into the template$", "into --template"),
        (r'on_uncertain="create"', "--on-uncertain create"),
        (r"\bmax_credits\b", "--max-credits"),
    )
)
"""How the package names an option of the client, and how the command line does."""
_LOGIN = re.compile(r"(://|(?<=--proxy[ =]))[^\s/@'\"]*@")


def in_options(text: str) -> str:
    """A message of the package with the options of the command line."""
    for pattern, replacement in _OPTIONS:
        text = pattern.sub(replacement, text)
    return text


def without_logins(text: str) -> str:
    """*text* without the users and passwords of its URLs."""
    return _LOGIN.sub(r"\1…@", text)
