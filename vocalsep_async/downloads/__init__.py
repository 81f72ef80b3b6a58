"""Stems to disk: whole or not at all, resumed, never outside of their directory.

`naming` and `choosing` say what is saved and under which name, `links` where it is, `remote` reads
it from its host in spite of cuts; `claim`, `note` and `partfile` keep what has arrived, `saving`
brings the two together, `manifest` lists what is whole. `job` does it for the stems of a task,
`downloader` for a client; `streaming` is for those who store elsewhere.
"""

from vocalsep_async.downloads.downloader import Downloadable, Downloader
from vocalsep_async.downloads.meter import OnProgress
from vocalsep_async.downloads.order import (
    LARGEST_FILE,
    USUAL_TEMPLATE,
    DownloadTo,
    Order,
    Overwrite,
)
from vocalsep_async.downloads.report import DownloadReport, Progress, StemFile
from vocalsep_async.downloads.streaming import StemStream

__all__ = [
    "LARGEST_FILE",
    "USUAL_TEMPLATE",
    "DownloadReport",
    "DownloadTo",
    "Downloadable",
    "Downloader",
    "OnProgress",
    "Order",
    "Overwrite",
    "Progress",
    "StemFile",
    "StemStream",
]
