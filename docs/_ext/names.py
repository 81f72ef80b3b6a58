"""Names of the package in the text of pages: each leads to its entry.

A page writes `VocalSepClient.track` and no more, so that it reads well in the repository, too. A
word written like a class that is neither of this package nor of Python nor in `FOREIGN` is a
warning: perhaps it was renamed.
"""

from __future__ import annotations

import builtins
import re
from functools import cache
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

import vocalsep_async

FOREIGN = frozenset(
    {
        "ApplicationError",
        "CancelledError",
        "ETag",
        "Route",
        "SunoAPIError",
        "TaskFailed",
        "TestClient",
        "Url",
        "Wait",
        "WorkflowEnvironment",
    }
)
"""Classes of other projects that pages name, and other words that are written like one."""

_CLASS = re.compile(r"[A-Z]\w*[a-z]\w*(\.\w+)*")
_MODULE = re.compile(r"vocalsep_async(\.\w+)+")
_LOG = logging.getLogger(__name__)


class _Names(SphinxPostTransform):
    default_priority = 5

    def run(self, **_kwargs: object) -> None:
        if self.env.doc2path(self.env.docname).suffix != ".md":
            return
        for node in list(self.document.findall(nodes.literal)):
            name = node.astext().removesuffix("()")
            is_name = _CLASS.fullmatch(name) or _MODULE.fullmatch(name)
            if is_name and not isinstance(node.parent, _ALREADY):
                self._lead_on(node, name)

    def _lead_on(self, node: nodes.literal, name: str) -> None:
        python = self.env.domains["py"]
        assert isinstance(python, PythonDomain)
        # Fuzzily, as for a name in a docstring; a name that is only imported is the same once more.
        found = python.find_obj(self.env, "", "", name, None, 1)
        entries = [entry for _, entry in found if not entry.aliased]
        if len(entries) == 1:
            (entry,) = entries
            builder, here = self.app.builder, self.env.docname
            text = node.deepcopy()
            link = make_refnode(builder, here, entry.docname, entry.node_id, text, name)
            node.replace_self(link)
        # Loggers are called like modules.
        elif not entries and _CLASS.fullmatch(name) and not _is_known(name):
            text = "%s is no name of this package; one of another project belongs into FOREIGN"
            _LOG.warning(text, name, location=node, type="ref", subtype="name")


_ALREADY = (nodes.reference, nodes.title, addnodes.pending_xref)


def _is_known(name: str) -> bool:
    first, _, _ = name.partition(".")
    return first in FOREIGN or hasattr(builtins, first) or name in _private_classes()


@cache
def _private_classes() -> frozenset[str]:
    """The classes that the page on the architecture names, and that have no entry."""
    folder = Path(vocalsep_async.__file__).parent
    texts = (path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    found = (re.findall(r"^class (\w+)", text, re.MULTILINE) for text in texts)
    return frozenset(name for names in found for name in names)


def setup(app: Sphinx) -> dict[str, bool]:
    """Look at the literal text of pages."""
    app.add_post_transform(_Names)
    return {"parallel_read_safe": True}
