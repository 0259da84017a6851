"""Search: the exact ranking that the paper's distance defines, of collections of any size."""

from gpldan_jax.index.candidates import Recall as Recall
from gpldan_jax.index.gallery import EncodedBatch as EncodedBatch
from gpldan_jax.index.index import Entry as Entry
from gpldan_jax.index.index import Found as Found
from gpldan_jax.index.index import Index as Index
from gpldan_jax.index.storage import DamagedIndexError as DamagedIndexError
