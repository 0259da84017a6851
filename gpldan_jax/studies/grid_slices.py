"""The slices of a grid: how many members fit the memory together, and their states."""

from collections.abc import Sequence

import jax

from gpldan_jax import data, training
from gpldan_jax.config import with_values
from gpldan_jax.runs import session
from gpldan_jax.studies.grid_points import Member
from gpldan_jax.training import mesh as meshes

# Of the memory that is free: the host, the validation and other processes need theirs too.
_SHARE = 0.5


def states(config: dict, dataset: data.PairedDataset, members: Sequence[Member]) -> training.TrainState:
    """The members before their first step, stacked."""
    return training.stack_states([session.initial_state(member_config(config, of), dataset) for of in members])


def member_config(config: dict, member: Member) -> dict:
    """The config of the run that a member is."""
    return with_values(config, {**dict(member.point), "train.seed": member.seed})


def fitting_size(
    config: dict,
    dataset: data.PairedDataset,
    members: Sequence[Member],
    *,
    at_once: int | None,
    mesh: jax.sharding.Mesh | None,
) -> int:
    """How many of these members fit half of the free memory together, as XLA counts it; at least one a device."""
    devices = training.shares(mesh)
    device = jax.local_devices()[0]
    budget = _SHARE * meshes.available_memory(device)
    if device.platform == "cpu":
        budget /= devices  # which share one memory; accelerators have each their own
    pairs = training.resident_pairs(dataset.train, neighbours=session.neighbours(config))
    pairs = jax.eval_shape(lambda: pairs)
    batches = {key: config["train"][key] for key in ("batch_size", "remainder")}
    each = -(-len(members) // devices)
    while each > 1:
        stacked = jax.eval_shape(lambda count=each: states(config, dataset, members[:1] * count))
        program = training.train_grid_epoch.lower(stacked, pairs, at_once=at_once, **batches).compile()
        sizes = program.memory_analysis()
        needed = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
        needed += sizes.temp_size_in_bytes
        # The selected parameters, and once more while they are replaced.
        needed += 2 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(stacked.projector_parameters))
        if needed <= budget:
            break
        each = max(1, min(each - 1, int(each * budget / needed)))
    return each * devices
