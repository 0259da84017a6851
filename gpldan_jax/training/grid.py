"""A grid of runs as one program: its members differ in seed and hyperparameters, which are data.

A stacked state is a `TrainState` whose arrays have a leading axis of `m` members, see `stack_states`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from gpldan_jax.data import PairedDataset
from gpldan_jax.training.batches import ResidentPairs, resident_pairs, steps_per_epoch
from gpldan_jax.training.checkpoints import Checkpoints
from gpldan_jax.training.epochs import (
    Interrupted,
    Selection,
    check_fits,
    criterion_value,
    evaluate_parameters,
    not_finite,
)
from gpldan_jax.training.mesh import AXIS, replicated, row_sharding
from gpldan_jax.training.state import TrainState
from gpldan_jax.training.step import train_epoch


@dataclasses.dataclass(frozen=True)
class Member:
    """How far a member of a grid is.

    Attributes:
        selection: the best epoch so far.
        failed: why it is not trained on, such as "the pairwise loss is nan at step 11"; empty otherwise.
    """

    selection: Selection = dataclasses.field(default_factory=Selection)
    failed: str = ""


class _GridState(flax.struct.PyTreeNode):
    """The members' states, and of each the projector's parameters in its selected epoch."""

    states: TrainState
    selected: Any


def stack_states(states: Sequence[TrainState]) -> TrainState:
    """Members of a grid as one state; they may differ in seed and hyperparameters only.

    Raises:
        ValueError: they differ in a network, an optimiser, the discrepancy, the denoising, the neighbours or the mesh.

    Example:
        >>> from gpldan_jax import models, training
        >>> networks = {"projector": models.Projector(8, 8, 2), "classifier": models.ModalityClassifier(8)}
        >>> states = stack_states(
        ...     [
        ...         training.create_train_state(seed, 10, 6, alpha=alpha, beta=0.1, adversarial=0.01, **networks)
        ...         for seed in (0, 1)
        ...         for alpha in (0.5, 1.0)
        ...     ]
        ... )
        >>> states.hyperparameters.alpha.tolist()
        [0.5, 1.0, 0.5, 1.0]
    """
    if len({jax.tree.structure(state) for state in states}) > 1:
        raise ValueError("members of a grid may differ in seed and hyperparameters only")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


@jax.jit(static_argnames=("batch_size", "remainder", "at_once", "mesh"), donate_argnames="states")
def train_grid_epoch(
    states: TrainState,
    pairs: ResidentPairs,
    *,
    batch_size: int,
    remainder: str = "drop",
    at_once: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """An epoch of every member in one program; each is what `train_epoch` makes of it but for the order of summation.

    Args:
        states: m members, from `stack_states`; donated. With a mesh, m divides evenly among its devices.
        pairs: the training pairs, of one device or replicated over the mesh.
        batch_size: pairs of a mini-batch.
        remainder: as in `steps_per_epoch`.
        at_once: how many members, of a device, go through `jax.vmap` together, the rest following in turn; `None` for
            all. Together they fill an accelerator; on a CPU, which one fills, 1 is faster and gives the bits of
            `train_epoch`.
        mesh: the devices that share the members.

    Returns:
        The next states, and what `train_epoch` returns of each member, `[m, steps]`. See `stack_states` for an example
        of states, `train_epoch` for one of pairs.
    """

    def member(state, pairs):
        return train_epoch(state, pairs, batch_size=batch_size, remainder=remainder)

    def share(states, pairs):
        if at_once is None or at_once >= len(states.step):
            return jax.vmap(member, in_axes=(0, None))(states, pairs)
        # Of 1, batch_size would still make a vmap, over a single member.
        return jax.lax.map(lambda state: member(state, pairs), states, batch_size=None if at_once == 1 else at_once)

    if mesh is None:
        return share(states, pairs)
    spread = PartitionSpec(AXIS)
    return jax.shard_map(share, mesh=mesh, in_specs=(spread, PartitionSpec()), out_specs=spread, check_vma=False)(
        states, pairs
    )


def train_grid(
    states: TrainState,
    dataset: PairedDataset,
    checkpoints: Checkpoints,
    *,
    epochs: int,
    batch_size: int,
    remainder: str = "drop",
    criterion: str = "map",
    evaluate_every: int = 1,
    patience: int = 0,
    at_once: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
    on_epoch: Callable[[int], None] = lambda epoch: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Any, tuple[Member, ...]]:
    """Trains all members from the latest checkpoint, or from `states`, and gives back the selected models.

    Each member is selected, stopped and judged on its own, as `train` does it; one whose loss is not finite is left
    behind without stopping the others. A grid that is killed continues from its last whole epoch.

    Args:
        states: m members before the first step, from `stack_states`; donated.
        dataset: scaled features; its test split is not looked at.
        checkpoints: where the grid saves, after every epoch.
        epochs: epochs to train.
        batch_size: pairs of a mini-batch.
        remainder: as in `steps_per_epoch`.
        criterion: as in `train`.
        evaluate_every: as in `train`.
        patience: as in `train`, of each member.
        at_once: as in `train_grid_epoch`.
        mesh: as in `train_grid_epoch`.
        on_epoch: takes the number of epochs done.
        should_stop: asked after every epoch.

    Returns:
        The projector's parameters of every member in its selected epoch, stacked; and the members.

    Raises:
        Interrupted: `should_stop` said so; everything up to the last epoch is saved.
        DataError: as `check_fits`.
    """
    check_fits(dataset, batch_size=batch_size, criterion=criterion)
    steps = steps_per_epoch(len(dataset.train), batch_size, remainder)
    pairs = jax.device_put(resident_pairs(dataset.train, neighbours=states.neighbours), replicated(mesh))
    epoch, members = 0, (Member(),) * len(states.step)
    if (latest := checkpoints.latest()) is not None:
        template = jax.eval_shape(lambda: _GridState(states, states.projector_parameters))
        grid, record = checkpoints.restore(template, latest, row_sharding(mesh))
        epoch = record["epoch"]
        members = tuple(Member(Selection(**of["selection"]), of["failed"]) for of in record["members"])
    else:
        states = jax.device_put(states, row_sharding(mesh))
        grid = _GridState(states, jax.tree.map(jnp.copy, states.projector_parameters))
    states, selected = grid.states, grid.selected

    def is_done(member):
        return bool(member.failed or (patience and member.selection.stale >= patience))

    def judged(index, member, metrics):
        if is_done(member):
            return member
        if failed := not_finite({name: values[index] for name, values in metrics.items()}, (epoch - 1) * steps):
            return dataclasses.replace(member, failed=failed)
        if epoch % evaluate_every and epoch != epochs:
            return member
        figures = {}
        if len(dataset.validation):
            parameters = member_of(states.projector_parameters, index)
            figures = evaluate_parameters(states.projector, parameters, dataset.validation)
        selection = member.selection.updated(epoch, criterion_value(criterion, figures, epoch))
        return dataclasses.replace(member, selection=selection)

    while epoch < epochs and not all(map(is_done, members)):
        states, metrics = train_grid_epoch(
            states, pairs, batch_size=batch_size, remainder=remainder, at_once=at_once, mesh=mesh
        )
        metrics = jax.device_get(metrics)
        epoch += 1
        members = tuple(judged(index, member, metrics) for index, member in enumerate(members))
        improved = np.array([member.selection.epoch == epoch for member in members])
        selected = _replaced(selected, states.projector_parameters, jax.device_put(improved, row_sharding(mesh)))
        record = {"epoch": epoch, "members": [dataclasses.asdict(member) for member in members]}
        checkpoints.save(epoch, _GridState(states, selected), record)
        on_epoch(epoch)
        if should_stop():
            raise Interrupted
    return selected, members


def member_of(stacked: Any, index: int) -> Any:
    """One member of a stacked tree, on the device that holds it."""

    def take(array):
        shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
        each = len(shards[0].data)
        return shards[index // each].data[index % each]

    return jax.tree.map(take, stacked)


@jax.jit(donate_argnames="old")
def _replaced(old, new, chosen):
    """Of the chosen members the new parameters, of the others the old ones."""

    def replace(old, new):
        return jnp.where(chosen.reshape(-1, *(1,) * (old.ndim - 1)), new, old)

    return jax.tree.map(replace, old, new)
