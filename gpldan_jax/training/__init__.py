"""Training: state, one jitted step, epochs, checkpoints, and the folder of a run."""

from gpldan_jax.training.batches import epoch_batches as epoch_batches
from gpldan_jax.training.batches import steps_per_epoch as steps_per_epoch
from gpldan_jax.training.checkpoints import Checkpoints as Checkpoints
from gpldan_jax.training.checkpoints import Progress as Progress
from gpldan_jax.training.export import TrainedModel as TrainedModel
from gpldan_jax.training.export import load_model as load_model
from gpldan_jax.training.export import save_model as save_model
from gpldan_jax.training.interruption import interruption as interruption
from gpldan_jax.training.loop import Interrupted as Interrupted
from gpldan_jax.training.loop import NotFinite as NotFinite
from gpldan_jax.training.loop import check_fits as check_fits
from gpldan_jax.training.loop import evaluate_split as evaluate_split
from gpldan_jax.training.loop import train as train
from gpldan_jax.training.optimizers import adam_with_l2 as adam_with_l2
from gpldan_jax.training.optimizers import rmsprop as rmsprop
from gpldan_jax.training.selection import Selection as Selection
from gpldan_jax.training.selection import criterion_value as criterion_value
from gpldan_jax.training.state import LossWeights as LossWeights
from gpldan_jax.training.state import TrainState as TrainState
from gpldan_jax.training.state import create_train_state as create_train_state
from gpldan_jax.training.step import Batch as Batch
from gpldan_jax.training.step import train_step as train_step
