"""Ranking one modality by the other, and how well that works."""

from gpldan_jax.retrieval.candidates import Recall as Recall
from gpldan_jax.retrieval.curves import map_per_class as map_per_class
from gpldan_jax.retrieval.curves import precision_recall as precision_recall
from gpldan_jax.retrieval.evaluation import chance as chance
from gpldan_jax.retrieval.evaluation import evaluate as evaluate
from gpldan_jax.retrieval.index import Entry as Entry
from gpldan_jax.retrieval.index import Found as Found
from gpldan_jax.retrieval.index import Index as Index
from gpldan_jax.retrieval.items import Items as Items
from gpldan_jax.retrieval.metrics import mean_average_precision as mean_average_precision
from gpldan_jax.retrieval.metrics import recall_at as recall_at
from gpldan_jax.retrieval.scoring import retrieval_distances as retrieval_distances
from gpldan_jax.retrieval.storage import DamagedIndexError as DamagedIndexError
