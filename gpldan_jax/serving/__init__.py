"""Collections that people can search: build them (`building`), ask them (`queries`), serve a page (`server`).

`Collection` is what the page searches, without HTTP. `http_app` is its HTTP interface. `limits` protects the server
from clients that ask too much.
"""

from gpldan_jax.serving.building import build_from_features as build_from_features
from gpldan_jax.serving.building import build_from_run as build_from_run
from gpldan_jax.serving.collection import Collection as Collection
from gpldan_jax.serving.queries import ask as ask
from gpldan_jax.serving.queries import measure_recall as measure_recall
from gpldan_jax.serving.server import serve as serve
