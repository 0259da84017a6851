"""Checkpoints: the state of a run and its progress, written together or not at all; or kept in memory."""

import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import flax.serialization
import jax
import jax.numpy as jnp

from gpldan_jax import _checksums
from gpldan_jax._files import one_line
from gpldan_jax.training.mesh import from_first_process

State = TypeVar("State")
_NEWER_NAMES = ("soft_contrastive", "soft_temperature", "soft_within")
_NONE, _REFUSED = -1, -2  # in the place of a step


class Checkpoints:
    """The checkpoints of one run on disk, by step: the latest two and those that they need.

    Orbax writes under a temporary name and renames, so a checkpoint that has its name is whole. Beside its files lie
    their SHA-256, which are written last and compared before a checkpoint is used: where the latest one is damaged, the
    one before is the latest, and a warning says so. All processes of a run call each method, with the same folder.

    Args:
        directory: made when the first checkpoint is written.
    """

    def __init__(self, directory: str | os.PathLike):
        import orbax.checkpoint as ocp  # half a second that a config error need not wait for

        self._ocp = ocp
        self.directory = Path(directory).absolute()
        # Synchronous: a crash loses the epoch under way and nothing before it.
        # What a process left there that was killed while it wrote is deleted.
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        try:
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        except Exception:  # Orbax reads some files of each checkpoint, also of those that nobody needs
            if not self._delete_damaged():
                raise
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        self._latest: int | None = None  # the last answer of `latest`, as long as nothing is saved
        self._before: set[int] | None = None  # the last saved step and what it needs
        self._checked: dict[int, dict[str, Any] | None] = {}

    def latest(self) -> int | None:
        """Returns the step of the latest whole checkpoint; `None` where there is none at all.

        Raises:
            ValueError: there are some, and each one or what it needs is damaged; the message names a file.
        """
        if self._latest is None:
            found = self._from_first_process(self._find_latest)
            self._latest = None if found == _NONE else found
        return self._latest

    def save(self, step: int, state: Any, progress: Mapping[str, Any], keep: set[int] | frozenset[int] = frozenset()):
        """Writes a checkpoint, then deletes all others but the one before and those that either of them needs.

        Args:
            step: its name.
            state: a pytree, of flax dataclasses, dicts and optax's tuples.
            progress: JSON values.
            keep: steps that it needs.
        """
        steps = self._manager.all_steps()
        before = {other for other in steps if other < step} if self._before is None else self._before
        if step in steps:  # a damaged one, whose epoch was trained again
            self._manager.delete(step)
        args = self._ocp.args
        self._manager.save(
            step,
            args=args.Composite(state=args.StandardSave(_as_dict(state)), progress=args.JsonSave(dict(progress))),
            force=True,
        )
        if jax.process_index() == 0:
            _checksums.write_folder(self.directory / str(step), {"needs": sorted(keep)})
        kept = {step, *keep, *before}
        for other in self._manager.all_steps():
            if other not in kept:
                self._manager.delete(other)
        self._latest, self._before, self._checked = None, {step, *keep}, {}

    def progress(self, step: int) -> dict[str, Any]:
        """Returns the progress of a checkpoint, without its state.

        Args:
            step: its name.

        Returns:
            The JSON values that were saved.
        """
        self._from_first_process(lambda: self._check(step))
        args = self._ocp.args
        try:
            return self._manager.restore(step, args=args.Composite(progress=args.JsonRestore())).progress
        except Exception as error:  # of Orbax, about a checkpoint without checksums
            raise self._unreadable(step, error) from error

    def restore(self, state: State, step: int, sharding: jax.sharding.Sharding) -> tuple[State, dict[str, Any]]:
        """Reads a checkpoint.

        Args:
            state: a state with the same shapes and static fields; the result of `jax.eval_shape` is enough.
            step: its name.
            sharding: where its arrays go, whatever devices wrote them.

        Returns:
            The state and the progress.

        Raises:
            ValueError: the checkpoint is damaged or of another state.
        """
        self._from_first_process(lambda: self._check(step))
        args = self._ocp.args
        abstract = jax.tree.map(lambda leaf: leaf.update(sharding=sharding), jax.eval_shape(_as_dict, state))
        try:
            restored = self._manager.restore(
                step, args=args.Composite(state=args.StandardRestore(abstract), progress=args.JsonRestore())
            )
        except Exception as error:  # Orbax and its libraries raise of every kind
            raise self._unreadable(step, error) from error
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

    def _delete_damaged(self) -> bool:
        """Deletes damaged checkpoints beside a whole one, and says so; returns whether there were any."""
        damaged, whole = {}, 0
        for folder in self.directory.glob("[0-9]*"):
            try:
                whole += _checksums.check_folder(folder) is not None
            except _checksums.DamagedError as error:
                damaged[folder] = error
        if damaged and not whole:
            problem = next(iter(damaged.values()))
            raise _checksums.DamagedError(f"{problem}, and no other checkpoint is whole; use fresh to start over")
        for folder, problem in damaged.items():
            warnings.warn(f"{problem}; this checkpoint is deleted", stacklevel=4)
            shutil.rmtree(folder, ignore_errors=True)  # another process of the run may do so too
        return bool(damaged)

    def _find_latest(self):
        """The latest step that is whole with all that it needs; warns where it is not the last one."""
        steps = sorted(self._manager.all_steps(), reverse=True)
        problem = None
        for step in steps:
            try:
                self._check(step)
                for needed in (self._checked[step] or {}).get("needs", ()):
                    self._check(needed)
                if self._checked[step] is None and any(self._has_checksums(of) for of in steps if of < step):
                    # Of a process that was killed between Orbax and the checksums.
                    raise _checksums.DamagedError(f"{self._file(step)} is missing")
            except _checksums.DamagedError as error:
                problem = problem or error
                continue
            if problem:
                warnings.warn(f"{problem}; going on after step {step}, the checkpoint before", stacklevel=3)
            elif self._checked[step] is None:
                old = f"{self.directory / str(step)} has no checksums, as those of older versions"
                warnings.warn(f"{old}: whether it is damaged is not known", stacklevel=3)
            return step
        if problem:
            raise _checksums.DamagedError(f"{problem}, and no other checkpoint is whole; use fresh to start over")
        return _NONE

    def _check(self, step):
        """Compares the files of a checkpoint with their checksums, once; returns the step."""
        if step not in self._checked:
            folder = self.directory / str(step)
            if not folder.is_dir():
                raise _checksums.DamagedError(f"{folder} is missing")
            self._checked[step] = _checksums.check_folder(folder)
        return step

    def _has_checksums(self, step):
        return self._file(step).exists()

    def _file(self, step):
        return self.directory / str(step) / _checksums.FOLDER_FILE

    def _from_first_process(self, find: Callable[[], int]) -> int:
        """What `find` returns in the first process, which looks for all; its `ValueError` ends all of them."""
        found, problem = _NONE, None
        if jax.process_index() == 0:
            try:
                found = find()
            except ValueError as error:
                found, problem = _REFUSED, error
        found = int(from_first_process(float(found)))
        if problem:
            raise problem
        if found == _REFUSED:
            raise _checksums.DamagedError(f"{self.directory} is damaged: the first process says what")
        return found

    def _unreadable(self, step, error):
        folder = self.directory / str(step)
        reason = one_line(error).rstrip(":")
        if self._checked.get(step) is None:
            return ValueError(f"{folder} has no checksums and cannot be read ({reason}); use fresh to start over")
        return ValueError(
            f"{folder} holds no checkpoint that fits this run, but perhaps one of another version of gpldan_jax "
            f"({reason}); use fresh to start over"
        )


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
