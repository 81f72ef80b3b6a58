"""apikley.ru, which speaks kie.ai's codes."""

from __future__ import annotations

from attrs import evolve

from vocalsep_async.providers.kie import KIE

APIKLEY = evolve(KIE, name="apikley", hosts=frozenset({"api.apikley.ru"}), prices={})
"""apikley.ru, a reseller that speaks kie.ai's codes; never tried against the live service."""
