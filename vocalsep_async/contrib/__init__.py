"""Connects the package to frameworks, one module each; `vocalsep_async` itself needs none of them.

- `vocalsep_async.contrib.asgi`: receives callbacks in FastAPI, Starlette, Litestar and other ASGI
  frameworks.
- `vocalsep_async.contrib.aiohttp`: receives callbacks in aiohttp.
- `vocalsep_async.contrib.airflow`: an Airflow operator that frees its worker; needs the extra
  ``airflow``.
- `vocalsep_async.contrib.redis`: a rate limit that processes share; needs the extra ``redis``.
- `vocalsep_async.contrib.opentelemetry`: spans and metrics; needs the extra ``otel``.
- `vocalsep_async.contrib.temporal`: a Temporal activity; needs the extra ``temporal``.
"""
