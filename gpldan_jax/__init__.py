"""GPLDAN in JAX: the graph pattern loss, the diversified attention network, its training and its evaluation."""

from typing import TYPE_CHECKING

from gpldan_jax._version import __version__ as __version__
from gpldan_jax.losses import GraphPatternTerms as GraphPatternTerms
from gpldan_jax.losses import adversarial_loss as adversarial_loss
from gpldan_jax.losses import co_attention_distances as co_attention_distances
from gpldan_jax.losses import graph_pattern_loss as graph_pattern_loss
from gpldan_jax.losses import modality_classifier_loss as modality_classifier_loss
from gpldan_jax.losses import sharded_graph_pattern_loss as sharded_graph_pattern_loss
from gpldan_jax.losses import target_distances as target_distances
from gpldan_jax.models import ModalityClassifier as ModalityClassifier
from gpldan_jax.models import Projector as Projector
from gpldan_jax.models import Representation as Representation
from gpldan_jax.models import TrainedModel as TrainedModel
from gpldan_jax.models import load_model as load_model
from gpldan_jax.models import save_model as save_model
from gpldan_jax.retrieval import mean_average_precision as mean_average_precision
from gpldan_jax.retrieval import recall_at as recall_at

if TYPE_CHECKING:
    from gpldan_jax.estimator import GPLDAN as GPLDAN


def __getattr__(name):
    if name == "GPLDAN":  # needs scikit-learn, which nothing else here does
        from gpldan_jax.estimator import GPLDAN

        return GPLDAN
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), "GPLDAN"})
