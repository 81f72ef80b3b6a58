"""Where the names of other projects are documented, so that no build asks their sites.

A name that a docstring or an annotation uses and that is not listed here fails the build.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

_PYTHON = "https://docs.python.org/3/library/"
_AIRFLOW = "https://airflow.apache.org/docs/apache-airflow/stable/_api/airflow/"
_AIOHTTP = "https://docs.aiohttp.org/en/stable/"
_YARL = "https://yarl.aio-libs.org/en/stable/api.html"
_OTEL = "https://opentelemetry-python.readthedocs.io/en/latest/api/"
_REDIS = "https://redis.readthedocs.io/en/stable/connections.html"

PAGES = {
    "TimeoutError": f"{_PYTHON}exceptions.html",
    "type": f"{_PYTHON}functions.html",
    "aiohttp.ClientSession": f"{_AIOHTTP}client_reference.html",
    "aiohttp.TraceConfig": f"{_AIOHTTP}tracing_reference.html",
    "aiohttp.web.BaseRequest": f"{_AIOHTTP}web_reference.html",
    "aiohttp.web.Response": f"{_AIOHTTP}web_reference.html",
    "aiohttp.web.RouteTableDef": f"{_AIOHTTP}web_reference.html",
    "airflow.triggers.base.TriggerEvent": f"{_AIRFLOW}triggers/base/index.html",
    "collections.abc.AsyncIterable": f"{_PYTHON}collections.abc.html",
    "collections.abc.AsyncIterator": f"{_PYTHON}collections.abc.html",
    "collections.abc.Awaitable": f"{_PYTHON}collections.abc.html",
    "collections.abc.Callable": f"{_PYTHON}collections.abc.html",
    "collections.abc.Iterable": f"{_PYTHON}collections.abc.html",
    "collections.abc.Mapping": f"{_PYTHON}collections.abc.html",
    "collections.abc.Sequence": f"{_PYTHON}collections.abc.html",
    "datetime.date": f"{_PYTHON}datetime.html",
    "datetime.datetime": f"{_PYTHON}datetime.html",
    "ipaddress.IPv4Network": f"{_PYTHON}ipaddress.html",
    "ipaddress.IPv6Network": f"{_PYTHON}ipaddress.html",
    "opentelemetry.metrics.MeterProvider": f"{_OTEL}metrics.html",
    "opentelemetry.trace.TracerProvider": f"{_OTEL}trace.html",
    "os.PathLike": f"{_PYTHON}os.html",
    "pathlib.Path": f"{_PYTHON}pathlib.html",
    "redis.asyncio.Redis": f"{_REDIS}#redis.asyncio.client.Redis",
    "redis.asyncio.RedisCluster": f"{_REDIS}#redis.asyncio.cluster.RedisCluster",
    "ssl.SSLContext": f"{_PYTHON}ssl.html",
    "temporalio.exceptions.ApplicationError": (
        "https://python.temporal.io/temporalio.exceptions.ApplicationError.html#"
    ),
    "yarl.URL": _YARL,
}
"""The page of each name; its anchor there is the name itself, unless the address has one."""

_DEFINED_ELSEWHERE = {
    "aiohttp.client.ClientSession": "aiohttp.ClientSession",
    "aiohttp.tracing.TraceConfig": "aiohttp.TraceConfig",
    "aiohttp.web_request.BaseRequest": "aiohttp.web.BaseRequest",
    "aiohttp.web_response.Response": "aiohttp.web.Response",
    "aiohttp.web_routedef.RouteTableDef": "aiohttp.web.RouteTableDef",
}
"""The documented name of what is defined in a module that is not."""

_BY_LAST_PART = {name.rpartition(".")[2]: name for name in PAGES}


class _Links(SphinxPostTransform):
    """Before Sphinx looks for a name: it would take any of ours that ends alike, such as `type`."""

    default_priority = 5

    def run(self, **_kwargs: object) -> None:
        for node in list(self.document.findall(pending_xref)):
            name = _documented(node["reftarget"], is_type=node["reftype"] in {"class", "exc"})
            if name in PAGES:
                page = PAGES[name]
                address = page if "#" in page else f"{page}#{name}"
                link = nodes.reference("", "", *node.children, internal=False, refuri=address)
                node.replace_self(link)


def _documented(target: str, *, is_type: bool) -> str:
    """The name of *target* in `PAGES`, if it has one."""
    if target in _DEFINED_ELSEWHERE:
        return _DEFINED_ELSEWHERE[target]
    # Annotations that are read as text give the last part of a name only.
    return _BY_LAST_PART.get(target, target) if is_type else target


def setup(app: Sphinx) -> dict[str, bool]:
    """Answer for the names of other projects."""
    app.add_post_transform(_Links)
    return {"parallel_read_safe": True}
