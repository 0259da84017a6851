"""The networks of GPLDAN as pure Flax Linen modules, and a trained model as one file."""

from gpldan_jax.models.bank import Bank as Bank
from gpldan_jax.models.bank import BankPairs as BankPairs
from gpldan_jax.models.bank import BankSide as BankSide
from gpldan_jax.models.bank import choose_pairs as choose_pairs
from gpldan_jax.models.bank import encode as encode
from gpldan_jax.models.bank import make_bank as make_bank
from gpldan_jax.models.bank import move as move
from gpldan_jax.models.bank import network_bank as network_bank
from gpldan_jax.models.bank import pairs_used as pairs_used
from gpldan_jax.models.classifier import ModalityClassifier as ModalityClassifier
from gpldan_jax.models.encoding import encode_rows as encode_rows
from gpldan_jax.models.encoding import pooled_vectors as pooled_vectors
from gpldan_jax.models.encoding import vector_recall as vector_recall
from gpldan_jax.models.model_card import model_card as model_card
from gpldan_jax.models.projector import Attention as Attention
from gpldan_jax.models.projector import Linear as Linear
from gpldan_jax.models.projector import Projector as Projector
from gpldan_jax.models.projector import Representation as Representation
from gpldan_jax.models.trained import CARD_FILE as CARD_FILE
from gpldan_jax.models.trained import MODEL_FILE as MODEL_FILE
from gpldan_jax.models.trained import Standardization as Standardization
from gpldan_jax.models.trained import TrainedModel as TrainedModel
from gpldan_jax.models.trained import load_model as load_model
from gpldan_jax.models.trained import model_tensors as model_tensors
from gpldan_jax.models.trained import save_model as save_model
