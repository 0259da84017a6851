"""Checkpoints: the state of a run and its progress, written together or not at all; or kept in memory."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import flax.serialization
import jax
import jax.numpy as jnp

State = TypeVar("State")
_NEWER_NAMES = ("soft_contrastive", "soft_temperature", "soft_within")


class Checkpoints:
    """The checkpoints of one run on disk, by step: the latest one and those that it is told to keep.

    Orbax writes under a temporary name and renames, so a checkpoint that has its name is whole. All processes of a run
    call each method, with the same folder.

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
        """Returns the step of the latest checkpoint; `None` where there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, progress: Mapping[str, Any], keep: set[int] | frozenset[int] = frozenset()):
        """Writes a checkpoint, then deletes all other checkpoints except those of the steps in `keep`.

        Args:
            step: its name.
            state: a pytree, of flax dataclasses, dicts and optax's tuples.
            progress: JSON values.
            keep: steps.
        """
        args = self._ocp.args
        self._manager.save(
            step,
            args=args.Composite(state=args.StandardSave(_as_dict(state)), progress=args.JsonSave(dict(progress))),
            force=True,
        )
        for other in self._manager.all_steps():
            if other != step and other not in keep:
                self._manager.delete(other)

    def progress(self, step: int) -> dict[str, Any]:
        """Returns the progress of a checkpoint, without its state.

        Args:
            step: its name.

        Returns:
            The JSON values that were saved.
        """
        args = self._ocp.args
        return self._manager.restore(step, args=args.Composite(progress=args.JsonRestore())).progress

    def restore(self, state: State, step: int, sharding: jax.sharding.Sharding) -> tuple[State, dict[str, Any]]:
        """Reads a checkpoint.

        Args:
            state: a state with the same shapes and static fields; the result of `jax.eval_shape` is enough.
            step: its name.
            sharding: where its arrays go, whatever devices wrote them.

        Returns:
            The state and the progress.

        Raises:
            ValueError: the checkpoint is of another state.
        """
        args = self._ocp.args
        abstract = jax.tree.map(lambda leaf: leaf.update(sharding=sharding), jax.eval_shape(_as_dict, state))
        try:
            restored = self._manager.restore(
                step, args=args.Composite(state=args.StandardRestore(abstract), progress=args.JsonRestore())
            )
        except ValueError as error:
            raise ValueError(
                f"{self.directory / str(step)} holds no checkpoint that fits this run, but perhaps one of another "
                f"version of gpldan_jax ({str(error).splitlines()[0].rstrip(':')}); use fresh to start over"
            ) from error
        # The keys of the template say which of the arrays are keys.
        like = flax.serialization.to_state_dict(state)
        values = jax.tree.map(
            lambda leaf, value: jax.random.wrap_key_data(value) if _is_key(leaf) else value,
            like,
            _with_absent(restored.state, like),
        )
        return flax.serialization.from_state_dict(state, values), restored.progress

    def close(self) -> None:
        """Ends Orbax's threads."""
        self._manager.close()


class CheckpointsInMemory:
    """The same methods as `Checkpoints` without a disk, for a fit that is never continued.

    Example:
        >>> checkpoints = CheckpointsInMemory()
        >>> checkpoints.save(20, {"w": jnp.ones(3)}, {"epoch": 1})
        >>> checkpoints.latest()
        20
    """

    def __init__(self):
        self._states = {}

    def latest(self) -> int | None:
        """Returns the step of the latest checkpoint; `None` where there is none."""
        return max(self._states, default=None)

    def save(self, step: int, state: Any, progress: Mapping[str, Any], keep: set[int] | frozenset[int] = frozenset()):
        """Keeps a copy, then forgets all other checkpoints except those of the steps in `keep`."""
        self._states = {of: kept for of, kept in self._states.items() if of in keep}
        # A copy, because the next epoch donates the arrays of this one.
        self._states[step] = (jax.tree.map(jnp.copy, state), dict(progress))

    def progress(self, step: int) -> dict[str, Any]:
        """Returns the progress of a checkpoint, as it was saved."""
        return self._states[step][1]

    def restore(self, state: State, step: int, sharding: jax.sharding.Sharding) -> tuple[State, dict[str, Any]]:
        """Returns the state and the progress of a checkpoint, as they were saved."""
        return self._states[step]


def _as_dict(state):
    # Plain nested dicts with names on the disk, whatever optax calls its tuples next year.
    values = _without_absent(flax.serialization.to_state_dict(state))
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, values)


def _without_absent(values):
    """Values without those that are newer than version 0.1.0 and `None`: checkpoints without them stay the same."""
    if not isinstance(values, dict):
        return values
    return {
        name: _without_absent(value) for name, value in values.items() if not (value is None and name in _NEWER_NAMES)
    }


def _with_absent(values, like):
    """Values with the `None` that `_without_absent` has taken out, where `like` has them."""
    if not isinstance(like, dict):
        return values
    return {name: None if value is None else _with_absent(values[name], value) for name, value in like.items()}


def _is_key(leaf):
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
