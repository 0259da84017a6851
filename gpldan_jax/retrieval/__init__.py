"""Retrieval metrics: distances of images and texts, mean average precision, recall and curves.

Search in a collection is in `gpldan_jax.index`; its old names here still work, with a warning.
"""

from gpldan_jax._deprecated import moved as _moved
from gpldan_jax.models.encoding import retrieval_distances as retrieval_distances
from gpldan_jax.retrieval.agreement import agreement as agreement
from gpldan_jax.retrieval.agreement import neighbourhood_relevance as neighbourhood_relevance
from gpldan_jax.retrieval.evaluation import chance as chance
from gpldan_jax.retrieval.evaluation import chance_of_pairs as chance_of_pairs
from gpldan_jax.retrieval.evaluation import different_items as different_items
from gpldan_jax.retrieval.evaluation import evaluate as evaluate
from gpldan_jax.retrieval.evaluation import evaluate_pairs as evaluate_pairs
from gpldan_jax.retrieval.metrics import average_precisions as average_precisions
from gpldan_jax.retrieval.metrics import map_per_class as map_per_class
from gpldan_jax.retrieval.metrics import mean_average_precision as mean_average_precision
from gpldan_jax.retrieval.metrics import ndcg as ndcg
from gpldan_jax.retrieval.metrics import precision_recall as precision_recall
from gpldan_jax.retrieval.metrics import recall_at as recall_at

__getattr__ = _moved(
    __name__,
    {
        "DamagedIndexError": "gpldan_jax.index:DamagedIndexError",
        "Entry": "gpldan_jax.index:Entry",
        "Found": "gpldan_jax.index:SearchResult",
        "Index": "gpldan_jax.index:Index",
        "Items": "gpldan_jax.index:EncodedBatch",
        "Recall": "gpldan_jax.index:Recall",
    },
)
