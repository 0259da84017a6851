"""Collections that people can search: build them (`building`), ask them (`queries`), serve a page (`server`).

`Collection` is what the page searches, without HTTP. `http_app` is its HTTP interface. `limits`, `connections` and
`decoding` protect the server and its other clients from one that asks too much.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpldan_jax.serving.building import build_from_features as build_from_features
    from gpldan_jax.serving.building import build_from_run as build_from_run
    from gpldan_jax.serving.collection import Collection as Collection
    from gpldan_jax.serving.queries import ask as ask
    from gpldan_jax.serving.queries import measure_recall as measure_recall
    from gpldan_jax.serving.server import serve as serve

# Loaded when they are used: to ask a collection needs nothing of what builds one.
_MODULES = {
    "Collection": "collection",
    "ask": "queries",
    "build_from_features": "building",
    "build_from_run": "building",
    "measure_recall": "queries",
    "serve": "server",
}
__all__ = [*_MODULES]


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"gpldan_jax.serving.{_MODULES[name]}"), name)


def __dir__():
    return sorted({*globals(), *__all__})
