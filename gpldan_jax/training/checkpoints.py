"""Checkpoints through Orbax: the whole state and how far the run is, written together or not at all."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import flax.serialization
import jax

from gpldan_jax.training.mesh import replicated
from gpldan_jax.training.selection import Selection
from gpldan_jax.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        epoch: finished epochs.
        window: the metrics of the steps taken in the epoch under way, oldest first; empty at the end of an epoch.
        selection: the best epoch so far.
    """

    epoch: int = 0
    window: tuple[Mapping[str, float], ...] = ()
    selection: Selection = dataclasses.field(default_factory=Selection)


class Checkpoints:
    """The checkpoints of one run, by step: the latest and that of the selected epoch.

    Orbax writes under a temporary name and renames, so what has a name is whole.

    Args:
        directory: made when the first checkpoint is written.
    """

    def __init__(self, directory: str | os.PathLike):
        import orbax.checkpoint as ocp  # half a second that a config error need not wait for

        self._ocp = ocp
        self.directory = Path(directory).absolute()
        # Synchronous: a crash loses the epoch under way and nothing before it.
        options = ocp.CheckpointManagerOptions(max_to_keep=None, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def latest(self) -> int | None:
        """The step of the latest checkpoint, `None` where there is none."""
        return self._manager.latest_step()

    def save(self, state: TrainState, progress: Progress, keep: set[int]) -> None:
        """Writes a checkpoint at `state.step`, then deletes all but it and those of the steps in `keep`."""
        step = int(state.step)
        args = self._ocp.args
        self._manager.save(
            step,
            args=args.Composite(
                state=args.StandardSave(_as_dict(state)), progress=args.JsonSave(dataclasses.asdict(progress))
            ),
            force=True,
        )
        for other in self._manager.all_steps():
            if other != step and other not in keep:
                self._manager.delete(other)

    def restore(self, state: TrainState, step: int) -> tuple[TrainState, Progress]:
        """State and progress of a checkpoint; `state` gives shapes (`jax.eval_shape` will do) and what is static."""
        args = self._ocp.args
        sharding = replicated(state.mesh)  # whatever devices wrote it
        abstract = jax.tree.map(lambda leaf: leaf.update(sharding=sharding), jax.eval_shape(_as_dict, state))
        restored = self._manager.restore(
            step, args=args.Composite(state=args.StandardRestore(abstract), progress=args.JsonRestore())
        )
        values = dict(restored.state)
        values["key"] = jax.random.wrap_key_data(values["key"])
        progress = restored.progress
        return flax.serialization.from_state_dict(state, values), Progress(
            epoch=progress["epoch"],
            window=tuple(progress["window"]),
            selection=Selection(**progress["selection"]),
        )

    def close(self) -> None:
        """Lets go of Orbax's threads."""
        self._manager.close()


def _as_dict(state: TrainState) -> dict:
    # Plain nested dicts with names on the disk, whatever optax calls its tuples next year.
    values = flax.serialization.to_state_dict(state)
    return values | {"key": jax.random.key_data(state.key)}
