"""Training: the state, one jitted step, the epoch driver, single runs and grids, and checkpoints."""

from gpldan_jax._deprecated import moved as _moved
from gpldan_jax.training.batches import Batch as Batch
from gpldan_jax.training.batches import Neighbourhoods as Neighbourhoods
from gpldan_jax.training.batches import ResidentPairs as ResidentPairs
from gpldan_jax.training.batches import epoch_batches as epoch_batches
from gpldan_jax.training.batches import resident_pairs as resident_pairs
from gpldan_jax.training.batches import split_neighbourhoods as split_neighbourhoods
from gpldan_jax.training.batches import steps_per_epoch as steps_per_epoch
from gpldan_jax.training.batches import zero_columns as zero_columns
from gpldan_jax.training.checkpoints import Checkpoints as Checkpoints
from gpldan_jax.training.checkpoints import CheckpointsInMemory as CheckpointsInMemory
from gpldan_jax.training.compilation import announce_compilation as announce_compilation
from gpldan_jax.training.epochs import EpochResult as EpochResult
from gpldan_jax.training.epochs import Interrupted as Interrupted
from gpldan_jax.training.epochs import Member as Member
from gpldan_jax.training.epochs import NotFinite as NotFinite
from gpldan_jax.training.epochs import Selection as Selection
from gpldan_jax.training.epochs import check_fits as check_fits
from gpldan_jax.training.epochs import criterion_figure as criterion_figure
from gpldan_jax.training.epochs import criterion_value as criterion_value
from gpldan_jax.training.epochs import epoch_line as epoch_line
from gpldan_jax.training.epochs import train_epochs as train_epochs
from gpldan_jax.training.evaluators import evaluate_parameters as evaluate_parameters
from gpldan_jax.training.evaluators import evaluate_split as evaluate_split
from gpldan_jax.training.evaluators import make_bank_maker as make_bank_maker
from gpldan_jax.training.evaluators import make_evaluator as make_evaluator
from gpldan_jax.training.evaluators import ranked_pairs as ranked_pairs
from gpldan_jax.training.evaluators import with_ranked_test as with_ranked_test
from gpldan_jax.training.grid import member_of as member_of
from gpldan_jax.training.grid import stack_states as stack_states
from gpldan_jax.training.grid import train_grid as train_grid
from gpldan_jax.training.grid import train_grid_epoch as train_grid_epoch
from gpldan_jax.training.loop import Progress as Progress
from gpldan_jax.training.loop import bank_options as bank_options
from gpldan_jax.training.loop import check_epochs as check_epochs
from gpldan_jax.training.loop import check_resident as check_resident
from gpldan_jax.training.loop import train as train
from gpldan_jax.training.loop import train_options as train_options
from gpldan_jax.training.loop import with_epochs as with_epochs
from gpldan_jax.training.mesh import data_mesh as data_mesh
from gpldan_jax.training.mesh import from_first_process as from_first_process
from gpldan_jax.training.mesh import shares as shares
from gpldan_jax.training.state import Hyperparameters as Hyperparameters
from gpldan_jax.training.state import TrainState as TrainState
from gpldan_jax.training.state import adam_with_l2 as adam_with_l2
from gpldan_jax.training.state import create_train_state as create_train_state
from gpldan_jax.training.state import projector_from_config as projector_from_config
from gpldan_jax.training.state import rmsprop as rmsprop
from gpldan_jax.training.state import state_from_config as state_from_config
from gpldan_jax.training.step import train_epoch as train_epoch
from gpldan_jax.training.step import train_step as train_step

__getattr__ = _moved(
    __name__,
    {
        "agreed": "gpldan_jax.training:from_first_process",
        "interruption": "gpldan_jax.runs.processes:interruption",
    },
)
