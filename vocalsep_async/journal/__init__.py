"""Nothing is lost: what a batch knows, in a file.

`records` packs what the API answered, `store` is the file, `lock` says who writes to it, `writer`
writes in a thread, `journal` is what users hold.
"""

from vocalsep_async.journal.journal import Intent, Journal, Known, type_of
from vocalsep_async.journal.records import unpacked
from vocalsep_async.journal.store import Row, Store

__all__ = ["Intent", "Journal", "Known", "Row", "Store", "type_of", "unpacked"]
