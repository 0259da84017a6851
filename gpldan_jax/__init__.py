"""GPLDAN in JAX: the graph pattern loss, the diversified attention network, its training and its evaluation."""

from gpldan_jax._version import __version__ as __version__
from gpldan_jax.losses import GraphPatternTerms as GraphPatternTerms
from gpldan_jax.losses import adversarial_loss as adversarial_loss
from gpldan_jax.losses import co_attention_distances as co_attention_distances
from gpldan_jax.losses import graph_pattern_loss as graph_pattern_loss
from gpldan_jax.losses import modality_classifier_loss as modality_classifier_loss
from gpldan_jax.losses import target_distances as target_distances
