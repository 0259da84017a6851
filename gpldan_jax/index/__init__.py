"""Search in collections of any size by the exact ranking of the paper's distance.

`Index` is what users meet: it encodes a collection (`gallery`), scans it for lower bounds of the distances (`scan`),
measures exactly what the bounds leave in doubt (`nearest`), asks a vector index first where it is told to
(`candidates`), and is kept in a folder (`storage`). `searching` is one search of either kind.
"""

from gpldan_jax.index.candidates import Recall as Recall
from gpldan_jax.index.gallery import EncodedBatch as EncodedBatch
from gpldan_jax.index.index import Index as Index
from gpldan_jax.index.search_results import Entry as Entry
from gpldan_jax.index.search_results import SearchResult as SearchResult
from gpldan_jax.index.storage import DamagedIndexError as DamagedIndexError
