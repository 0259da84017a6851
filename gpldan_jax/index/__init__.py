"""Search in collections of any size by the exact ranking of the paper's distance.

`Index` is the class for users. It encodes a collection (`gallery`) and computes lower bounds of the distances (`scan`).
Then it measures exactly the items that may be among the nearest (`nearest`). It can ask a vector index first
(`candidates`), and is saved in a folder (`storage`). `searching` is one search of either kind.
"""

from gpldan_jax.index.candidates import Recall as Recall
from gpldan_jax.index.gallery import EncodedBatch as EncodedBatch
from gpldan_jax.index.index import Index as Index
from gpldan_jax.index.search_results import Entry as Entry
from gpldan_jax.index.search_results import SearchResult as SearchResult
from gpldan_jax.index.storage import DamagedIndexError as DamagedIndexError
