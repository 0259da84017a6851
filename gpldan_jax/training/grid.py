"""A grid of runs as one program: its members differ in seed and hyperparameters, which are data.

A stacked state is a `TrainState` whose arrays have a leading axis of `m` members, see `stack_states`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from gpldan_jax.data import PairedDataset
from gpldan_jax.training.batches import ResidentPairs, resident_pairs
from gpldan_jax.training.checkpoints import Checkpoints
from gpldan_jax.training.epochs import Interrupted, Member, Selection, check_fits, criterion_value, train_epochs
from gpldan_jax.training.evaluators import make_bank_maker, make_evaluator
from gpldan_jax.training.mesh import AXIS, replicated, row_sharding
from gpldan_jax.training.state import TrainState
from gpldan_jax.training.step import train_epoch


class _GridState(flax.struct.PyTreeNode):
    """The states of the members, and the projector's parameters of each member in its selected epoch."""

    states: TrainState
    selected: Any


def stack_states(states: Sequence[TrainState]) -> TrainState:
    """Stacks the states of the members of a grid; they may differ in seed and hyperparameters only.

    Args:
        states: m states before the first step.

    Returns:
        One state, whose arrays have a leading axis of m members.

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
    """Trains an epoch of every member in one program; each as `train_epoch` does, but for the order of summation.

    Args:
        states: m members, from `stack_states`; donated. With a mesh, m divides evenly among its devices.
        pairs: the training pairs, of one device or replicated over the mesh.
        batch_size: pairs of a mini-batch.
        remainder: as in `steps_per_epoch`.
        at_once: how many members of a device go through `jax.vmap` together, the others in turn after them; `None` for
            all. Together they fill an accelerator. One member fills a CPU: there 1 is faster, and gives the bits of
            `train_epoch`.
        mesh: the devices that share the members.

    Returns:
        The next states, and the metrics of `train_epoch` for each member, `[m, steps]`.

    Example:
        See `train_epoch` for the pairs and `stack_states` for the states.
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
    bank: Mapping[str, Any] | None = None,
    evaluate_pairs: int = 0,
    at_once: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
    on_epoch: Callable[[int], None] = lambda epoch: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Any, tuple[Member, ...]]:
    """Trains all members from the latest checkpoint, or from `states`, and returns the selected models.

    Each member has its own selection and its own patience, as in `train`. A member whose loss is not finite is marked
    as failed and does not stop the others. A grid that is killed continues from its last whole epoch.

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
        bank: as in `train`.
        evaluate_pairs: as in `train`.
        at_once: as in `train_grid_epoch`.
        mesh: as in `train_grid_epoch`.
        on_epoch: takes the number of epochs done.
        should_stop: asked after every epoch.

    Returns:
        The projector's parameters of every member in its selected epoch, stacked; and the members.

    Raises:
        Interrupted: `should_stop` said so; everything up to the last epoch is saved.
        DataError: as `check_fits`.

    Example:
        See `stack_states` for the states and `train` for the other arguments.
    """
    check_fits(dataset, batch_size=batch_size, criterion=criterion)
    pairs = jax.device_put(resident_pairs(dataset.train, neighbours=states.neighbours), replicated(mesh))
    grid, epoch, members = _resume(states, checkpoints, mesh)
    program = {"batch_size": batch_size, "remainder": remainder, "at_once": at_once, "mesh": mesh}

    def train_epoch(epoch):
        nonlocal grid
        states, metrics = train_grid_epoch(grid.states, pairs, **program)
        grid = grid.replace(states=states)
        return jax.device_get(metrics)

    evaluate_validation = make_evaluator(dataset, "validation", criterion=criterion, evaluate_pairs=evaluate_pairs)
    make_bank = make_bank_maker(dataset.train, bank)

    def evaluate(index, epoch):
        projector, parameters = grid.states.projector, member_of(grid.states.projector_parameters, index)
        figures = evaluate_validation(projector, parameters, make_bank(projector, parameters))
        return criterion_value(criterion, figures, epoch), figures

    for result in train_epochs(
        train_epoch,
        evaluate,
        epochs=epochs,
        first_epoch=epoch,
        members=members,
        evaluate_every=evaluate_every,
        patience=patience,
    ):
        members = result.members
        improved = jax.device_put(result.improved(), row_sharding(mesh))
        grid = grid.replace(selected=_replaced(grid.selected, grid.states.projector_parameters, improved))
        record = {"epoch": result.epoch, "members": [dataclasses.asdict(member) for member in members]}
        checkpoints.save(result.epoch, grid, record)
        on_epoch(result.epoch)
        if should_stop():
            raise Interrupted
    return grid.selected, members


def _resume(states, checkpoints, mesh):
    """The grid, the epochs it has been trained for, and its members: from the latest checkpoint, or from `states`."""
    if (latest := checkpoints.latest()) is None:
        states = jax.device_put(states, row_sharding(mesh))
        grid = _GridState(states, jax.tree.map(jnp.copy, states.projector_parameters))
        return grid, 0, (Member(),) * len(states.step)
    template = jax.eval_shape(lambda: _GridState(states, states.projector_parameters))
    grid, record = checkpoints.restore(template, latest, row_sharding(mesh))
    members = tuple(Member(Selection(**of["selection"]), of["failed"]) for of in record["members"])
    return grid, record["epoch"], members


def member_of(stacked: Any, index: int) -> Any:
    """Returns one member of a stacked tree, on the device that holds it.

    Args:
        stacked: arrays with a leading axis of m members.
        index: of the member, from 0 to m - 1.

    Returns:
        The tree without that axis.

    Example:
        >>> member_of({"alpha": jnp.array([0.5, 1.0])}, 1)["alpha"].item()
        1.0
    """

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
