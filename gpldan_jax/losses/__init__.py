"""The losses of GPLDAN as pure functions that need nothing but jax."""

from gpldan_jax.losses.adversarial import adversarial_loss as adversarial_loss
from gpldan_jax.losses.adversarial import modality_classifier_loss as modality_classifier_loss
from gpldan_jax.losses.contrastive import infonce as infonce
from gpldan_jax.losses.contrastive import pairwise_sigmoid as pairwise_sigmoid
from gpldan_jax.losses.distances import co_attention_distances as co_attention_distances
from gpldan_jax.losses.distances import target_distances as target_distances
from gpldan_jax.losses.graph_pattern import GraphPatternTerms as GraphPatternTerms
from gpldan_jax.losses.graph_pattern import graph_pattern_loss as graph_pattern_loss
from gpldan_jax.losses.graph_pattern import sharded_graph_pattern_loss as sharded_graph_pattern_loss
from gpldan_jax.losses.neighbourhoods import nearest_neighbours as nearest_neighbours
from gpldan_jax.losses.neighbourhoods import neighbourhood_rows as neighbourhood_rows
from gpldan_jax.losses.soft_contrastive import sharded_soft_contrastive as sharded_soft_contrastive
from gpldan_jax.losses.soft_contrastive import soft_contrastive as soft_contrastive
