"""The page: one file that needs nothing else, but for the stems that it plays."""

from __future__ import annotations

import hashlib
import os
import secrets
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vocalsep_async._text import counted
from vocalsep_async.cli.report import text
from vocalsep_async.cli.report.delays import delays
from vocalsep_async.cli.report.ending import WORDS
from vocalsep_async.cli.report.facts import facts, headline, shares
from vocalsep_async.cli.report.requests import requests
from vocalsep_async.cli.report.run import Run
from vocalsep_async.cli.report.story import Story, stories
from vocalsep_async.cli.report.timeline import timeline
from vocalsep_async.cli.report.tints import tint
from vocalsep_async.cli.report.waveform import Peaks


def write_report(run: Run, path: Path, peaks: Mapping[Path, Peaks]) -> None:
    """Write the report of *run*: the whole file, or nothing. It blocks.

    The page names the stems relative to its own place: move it together with them.

    Args:
        run: what to report.
        path: the file; what stood there is replaced.
        peaks: the outline of each file of a stem; one that is missing is not drawn.

    Raises:
        OSError: it cannot be written; what stood at *path* stands there still.
    """
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100 - Path keeps the dots
    _replace(path, rendered(run, folder, peaks).encode())


def rendered(run: Run, folder: Path, peaks: Mapping[Path, Peaks]) -> str:
    """The text of the page of *run*, for a file in *folder*."""
    told = stories(run, folder)
    parts = shares(told, run.unheard)
    chart = delays(told)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            headline=headline(parts),
            shares=parts,
            facts=facts(run, told, chart),
            stories=told,
            skewed=sum(story.is_skewed for story in told),
            timeline=timeline(run, told),
            delays=chart,
            requests=requests(run),
            outlines=outlines(told, peaks),
            policy=_policy(),
            style=_asset("style.css"),
            script=_asset("script.js"),
        )
    )


def outlines(told: tuple[Story, ...], peaks: Mapping[Path, Peaks]) -> list[list[Any]]:
    """For each task and each of its stems: its levels in Base64 and its seconds, or nothing."""
    return [[_outline(peaks.get(stem.path)) for stem in story.stems] for story in told]


def _outline(peaks: Peaks | None) -> tuple[str, float] | None:
    if peaks is None:
        return None
    return b64encode(peaks.levels).decode("ascii"), round(peaks.seconds, 2)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("vocalsep_async.cli.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"WORDS": WORDS}
    environment.filters |= {
        "clock": text.clock,
        "counted": counted,
        "moment": text.moment,
        "short": text.short,
        "seconds": text.seconds,
        "tint": tint,
        "without_links": text.without_links,
    }
    return environment


def _shown(value: object) -> object:
    """What is put into the page. Every text passes here, so that no place can forget it."""
    is_markup = hasattr(value, "__html__")
    return text.visible(value) if isinstance(value, str) and not is_markup else value


@cache
def _asset(name: str) -> Markup:
    """A file of this package that goes into the page as it is."""
    return Markup(files(__package__).joinpath("templates", name).read_text(encoding="utf-8"))  # noqa: S704


def _policy() -> str:
    """What a browser may do for the page: its own script and style, and play the stems."""
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"script-src {_hash('script.js')}; style-src {_hash('style.css')}; "
        # self is for a page that somebody puts on a server together with its stems.
        "media-src 'self' file:"
    )


def _hash(name: str) -> str:
    digest = hashlib.sha256(_asset(name).encode()).digest()
    return f"'sha256-{b64encode(digest).decode('ascii')}'"


def _replace(path: Path, content: bytes) -> None:
    # Not of the module tempfile: its files are for their owner only, and reports are passed on.
    part = path.with_name(f".{path.name[:50]}.{secrets.token_hex(6)}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
