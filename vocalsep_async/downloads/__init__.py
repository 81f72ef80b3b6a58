"""Stems to disk: whole or not at all, resumed, never outside of their directory."""

from vocalsep_async.downloads.choosing import names
from vocalsep_async.downloads.downloader import (
    LARGEST_FILE,
    USUAL_TEMPLATE,
    Downloadable,
    Downloader,
    Order,
    Overwrite,
    checked_overwrite,
)
from vocalsep_async.downloads.meter import OnProgress
from vocalsep_async.downloads.naming import Template
from vocalsep_async.downloads.report import DownloadReport, Progress, StemFile
from vocalsep_async.downloads.streaming import StemStream

__all__ = [
    "LARGEST_FILE",
    "USUAL_TEMPLATE",
    "DownloadReport",
    "Downloadable",
    "Downloader",
    "OnProgress",
    "Order",
    "Overwrite",
    "Progress",
    "StemFile",
    "StemStream",
    "Template",
    "checked_overwrite",
    "names",
]
