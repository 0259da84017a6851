"""GPLDAN in JAX: the graph pattern loss, the diversified attention network, its training and its evaluation.

The names below are imported when they are first used, so that `import gpldan_jax` takes no time.
"""

import importlib
import importlib.util

__version__ = "0.2.0"

TYPE_CHECKING = False  # as `typing` has it, which takes longer to import than the rest of this module
if TYPE_CHECKING:
    from gpldan_jax.estimator import GPLDAN as GPLDAN
    from gpldan_jax.hub import from_pretrained as from_pretrained
    from gpldan_jax.hub import push_to_hub as push_to_hub
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

_ROOMS = {
    "GPLDAN": "estimator",
    "GraphPatternTerms": "losses",
    "ModalityClassifier": "models",
    "Projector": "models",
    "Representation": "models",
    "TrainedModel": "models",
    "adversarial_loss": "losses",
    "co_attention_distances": "losses",
    "from_pretrained": "hub",
    "graph_pattern_loss": "losses",
    "load_model": "models",
    "mean_average_precision": "retrieval",
    "modality_classifier_loss": "losses",
    "push_to_hub": "hub",
    "recall_at": "retrieval",
    "save_model": "models",
    "sharded_graph_pattern_loss": "losses",
    "target_distances": "losses",
}
# `from gpldan_jax import *` must not fail without scikit-learn, which only the estimator needs.
__all__ = ["__version__", *_ROOMS]
if importlib.util.find_spec("sklearn") is None:
    __all__.remove("GPLDAN")


def __getattr__(name: str):
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"gpldan_jax.{_ROOMS[name]}"), name)


def __dir__():
    return sorted({*globals(), *__all__})
