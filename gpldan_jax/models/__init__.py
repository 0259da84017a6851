"""The networks of GPLDAN as pure Flax Linen modules."""

from gpldan_jax.models.attention import Attention as Attention
from gpldan_jax.models.modality_classifier import ModalityClassifier as ModalityClassifier
from gpldan_jax.models.projector import Projector as Projector
from gpldan_jax.models.projector import Representation as Representation
