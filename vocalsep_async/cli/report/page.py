"""The page: one HTML file that needs nothing else, except the stems that it plays."""

from __future__ import annotations

import hashlib
import os
import secrets
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vocalsep_async._text import counted, shortened
from vocalsep_async.cli.report import text
from vocalsep_async.cli.report.charts import delay_chart, request_chart, timeline
from vocalsep_async.cli.report.rows import TaskRow, noun_of, task_rows
from vocalsep_async.cli.report.run import Run
from vocalsep_async.cli.report.status import LABELS
from vocalsep_async.cli.report.summary import figures, headline, status_shares
from vocalsep_async.cli.report.waveform import Peaks

_STYLES = ("style.css", "player.css")
_SCRIPTS = ("player.js", "script.js")


def write_report(run: Run, path: Path, peaks: Mapping[Path, Peaks]) -> None:
    """Write the report of *run*, the whole file or nothing; it blocks.

    The page links to the stems relative to its own folder, so they can be moved together.

    Args:
        run: the run.
        path: the file; an existing file is replaced.
        peaks: the waveform of each audio file; a missing one is not drawn.

    Raises:
        OSError: the file cannot be written; an existing file is unchanged.
    """
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100 - Path.absolute keeps the dots
    _replace(path, render(run, folder, peaks).encode())


def render(run: Run, folder: Path, peaks: Mapping[Path, Peaks]) -> str:
    """The HTML of the page of *run*, for a file in *folder*."""
    rows = task_rows(run, folder)
    noun = noun_of(rows)
    shares = status_shares(rows, run.unfinished)
    delays = delay_chart(rows)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            noun=noun,
            headline=headline(shares, noun),
            shares=shares,
            figures=figures(run, rows, delays, noun),
            rows=rows,
            skewed=sum(row.is_skewed for row in rows),
            restored=sum(row.timed.at is None for row in rows),
            timeline=timeline(run, rows),
            delays=delays,
            requests=request_chart(run),
            waveforms=_waveforms(rows, peaks),
            policy=_security_policy(),
            style=_assets(*_STYLES),
            script=_assets(*_SCRIPTS),
        )
    )


def _waveforms(rows: Sequence[TaskRow], peaks: Mapping[Path, Peaks]) -> list[list[Any]]:
    """For each row and each of its stems: the levels in Base64 and the seconds, or None."""
    return [[_waveform(peaks.get(stem.path)) for stem in row.stems] for row in rows]


def _waveform(peaks: Peaks | None) -> tuple[str, float] | None:
    if peaks is None:
        return None
    return b64encode(peaks.levels).decode("ascii"), round(peaks.seconds, 2)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("vocalsep_async.cli.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"LABELS": LABELS}
    environment.filters |= {
        "clock": text.clock,
        "colour_index": text.colour_index,
        "counted": counted,
        "date_and_time": text.date_and_time,
        "seconds": text.format_seconds,
        "short": text.short,
        "shortened": shortened,
        "without_links": text.without_links,
    }
    return environment


def _finalize(value: object) -> object:
    # Every value of the template passes here, so that none is shown with invisible characters.
    is_markup = hasattr(value, "__html__")
    return text.visible(value) if isinstance(value, str) and not is_markup else value


@cache
def _assets(*names: str) -> Markup:
    """Files of this package that are inserted into the page unescaped, one after the other."""
    folder = files(__package__).joinpath("templates")
    return Markup("\n".join(folder.joinpath(each).read_text(encoding="utf-8") for each in names))  # noqa: S704


def _security_policy() -> str:
    """A policy that permits the page's own script and style, playing stems, and nothing else."""
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"script-src {_hash(*_SCRIPTS)}; style-src {_hash(*_STYLES)}; "
        # 'self' for a page that is served together with its stems.
        "media-src 'self' file:"
    )


def _hash(*names: str) -> str:
    digest = hashlib.sha256(_assets(*names).encode()).digest()
    return f"'sha256-{b64encode(digest).decode('ascii')}'"


def _replace(path: Path, content: bytes) -> None:
    # A device or a pipe is written to, and a link goes on leading where it led.
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    path = path.resolve()
    # Not with the module tempfile: its files are readable by their owner only, and reports are
    # meant to be shared.
    part = path.with_name(f".{path.name[:50]}.{secrets.token_hex(6)}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
