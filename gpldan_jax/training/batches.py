"""The mini-batches of an epoch and their denoising, Sec. 2.1.

The order of the pairs is a function of (key, epoch). Mini-batches are sent to the device one by one, or taken from all
training pairs, which stay there.

Letters: `n` training pairs; `b` pairs of a mini-batch; `m` neighbours; `d_i`, `d_t` widths of the inputs.
"""

import functools
from collections.abc import Callable, Generator

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from gpldan_jax.data import PairedSplit
from gpldan_jax.data.paired import different_rows
from gpldan_jax.losses import neighbourhood_rows
from gpldan_jax.models.column_statistics import Share
from gpldan_jax.training.mesh import AXIS, row_sharding, shares
from gpldan_jax.training.neighbour_search import IN_ONE_PROGRAM, find_neighbours
from gpldan_jax.training.read_ahead import read_ahead
from gpldan_jax.training.state import shuffling_key


def zero_columns(inputs: jax.Array, key: jax.Array, fraction: float) -> jax.Array:
    """Sets `int(fraction * d)` randomly drawn columns to zero, the same ones for the whole mini-batch.

    This is the denoising of CDPAE, by the same authors, which the paper refers to. Unlike dropout it draws whole
    columns, an exact number of them, and does not rescale the rest.

    Args:
        inputs: `[n, d]`.
        key: a `jax.random.key`; it is consumed.
        fraction: in [0, 1].

    Returns:
        `[n, d]`, dtype of `inputs`.

    Raises:
        ValueError: inputs of another rank, or a fraction outside [0, 1].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> print(int(zero_columns(jnp.ones((1, 10)), jax.random.key(0), 0.7).sum()))
        3

    References:
        Chen, Zhang and Zhan, arXiv 2106.13552, Sec. 2.1; Zhan et al., CDPAE, ACM MM 2018.
    """
    if inputs.ndim != 2 or not 0 <= fraction <= 1:
        raise ValueError(f"need inputs [n, d] and a fraction in [0, 1], got {inputs.shape} and {fraction}")
    d = inputs.shape[1]
    return jnp.where(jax.random.permutation(key, d) < int(fraction * d), 0, inputs)


class Neighbourhoods(flax.struct.PyTreeNode):
    """The nearest training pairs of b pairs, see `gpldan_jax.losses.nearest_neighbours`.

    Attributes:
        columns: `[b, m]` int32.
        weights: `[b, m]` float32.
        count: how many training pairs there are.
    """

    columns: jax.Array | np.ndarray
    weights: jax.Array | np.ndarray
    count: int = flax.struct.field(pytree_node=False)

    def rows(self) -> jax.Array:
        """Returns the rows `[b, count]` of the neighbourhood matrix, see `gpldan_jax.losses.neighbourhood_rows`.

        Of many training pairs only the columns in which a row has a weight are there, b m of them: the rows have the
        same inner products.
        """
        columns, weights = jnp.asarray(self.columns), jnp.asarray(self.weights)
        width = columns.size
        if self.count <= IN_ONE_PROGRAM or self.count <= width:
            return neighbourhood_rows(columns, weights, self.count)
        _, places = jnp.unique(columns, return_inverse=True, size=width)
        return neighbourhood_rows(places.reshape(columns.shape), weights, width)


class Batch(flax.struct.PyTreeNode):
    """A mini-batch of n pairs.

    Attributes:
        images: `[n, d_i]` float32, scaled, not yet denoised.
        texts: `[n, d_t]` float32.
        where: `[n]` bool, False for padding; or `None`.
        neighbourhoods: what target distances are computed from; `None` for the inputs.
        groups: `[n]` int32, the same for pairs that belong together; `None` where each pair stands alone.
    """

    images: jax.Array
    texts: jax.Array
    where: jax.Array | None = None
    neighbourhoods: Neighbourhoods | None = None
    groups: jax.Array | np.ndarray | None = None


class ResidentPairs(flax.struct.PyTreeNode):
    """All training pairs on the device, or spread over the devices of a mesh; an image of several pairs is there once.

    Attributes:
        images: `[u, d_i]` float32, u different images; with a mesh the last row is repeated until they divide evenly.
        texts: `[v, d_t]` float32, v different texts, padded the same way.
        neighbourhoods: of all n pairs, padded the same way; or `None`.
        image_of: `[n]` int32, the row in `images` of each pair; `None` where all are different, and u is n.
        text_of: the same for `texts`.
        groups: `[n]` int32, see `Batch`; or `None`.
        count: n, without the repeated rows.
        mesh: as in `TrainState`.
    """

    images: jax.Array
    texts: jax.Array
    neighbourhoods: Neighbourhoods | None
    count: int = flax.struct.field(pytree_node=False)
    mesh: jax.sharding.Mesh | None = flax.struct.field(pytree_node=False)
    image_of: jax.Array | np.ndarray | None = None
    text_of: jax.Array | np.ndarray | None = None
    groups: jax.Array | np.ndarray | None = None

    def take(self, rows: jax.Array, where: jax.Array | None) -> Batch:
        """Returns the mini-batch of some pairs, `[b]` int32; with a mesh, each device holds its share of it."""
        image_rows, text_rows = (rows if of is None else of[rows] for of in (self.image_of, self.text_of))
        images, texts = _take(self.images, image_rows, self.mesh), _take(self.texts, text_rows, self.mesh)
        neighbourhoods = jax.tree.map(lambda of: _take(of, rows, self.mesh), self.neighbourhoods)
        groups = None if self.groups is None else self.groups[rows]
        return Batch(images, texts, where, neighbourhoods, groups)


def split_neighbourhoods(
    split: PairedSplit,
    neighbours: int | None,
    *,
    on_pairs: Callable[[int], None] = lambda done: None,
    share: Share | None = None,
) -> Neighbourhoods | None:
    """Returns the neighbourhoods among the pairs of a split, on the host.

    Args:
        split: the training pairs.
        neighbours: m; `None` where target distances come from the inputs.
        on_pairs: takes how many pairs are done, where there are so many that it takes long.
        share: as in `gpldan_jax.training.neighbour_search.find_neighbours`.

    Returns:
        The neighbourhoods; `None` for `None`.

    Example:
        >>> split_neighbourhoods(PairedSplit(np.ones((5, 3)), np.ones((5, 2))), 2).columns.shape
        (5, 2)
    """
    if neighbours is None:
        return None
    columns, weights = find_neighbours(split.images, split.texts, neighbours, on_pairs=on_pairs, share=share)
    return Neighbourhoods(columns, weights, count=len(split))


def resident_pairs(
    split: PairedSplit,
    mesh: jax.sharding.Mesh | None = None,
    *,
    neighbours: int | None = None,
    neighbourhoods: Neighbourhoods | None = None,
) -> ResidentPairs:
    """Puts all training pairs on the device; with a mesh, each process sends the rows of its own devices only.

    Args:
        split: the training pairs.
        mesh: as in `TrainState`.
        neighbours: as in `TrainState`.
        neighbourhoods: of all pairs, where they were found before.

    Returns:
        The pairs on the device or devices.

    Example:
        >>> import numpy as np
        >>> pairs = resident_pairs(PairedSplit(np.ones((5, 3)), np.ones((5, 2))))
        >>> pairs.count, pairs.images.shape
        (5, (5, 3))
    """

    def send(array, kept):
        padding = np.full(-len(kept) % shares(mesh), kept[-1], kept.dtype)
        return _send(array, np.concatenate([kept, padding]), mesh)

    of_pairs = functools.partial(send, kept=np.arange(len(split)))
    if neighbourhoods is None:
        neighbourhoods = split_neighbourhoods(split, neighbours)
    neighbourhoods = jax.tree.map(of_pairs, neighbourhoods)
    image_rows, image_of = _different(split.images, split.groups)
    text_rows, text_of = _different(split.texts, split.groups)
    return ResidentPairs(
        send(split.images, image_rows),
        send(split.texts, text_rows),
        neighbourhoods,
        count=len(split),
        mesh=mesh,
        image_of=image_of,
        text_of=text_of,
        groups=split.groups,
    )


def _different(features, groups) -> tuple[np.ndarray, np.ndarray | None]:
    """The rows of the different items, and which of them each pair has; `None` where all are different."""
    if groups is None:
        return np.arange(len(features)), None
    rows, item_of = different_rows(features, groups)
    return rows, item_of if len(rows) < len(features) else None


def steps_per_epoch(n: int, batch_size: int, remainder: str) -> int:
    """Returns the number of mini-batches of an epoch over n pairs.

    Args:
        n: training pairs.
        batch_size: pairs of a mini-batch.
        remainder: `"drop"` leaves out the pairs that do not fill a batch (other pairs each epoch), `"mask"` pads the
            last batch.

    Returns:
        The number.

    Example:
        >>> steps_per_epoch(100, 64, "drop"), steps_per_epoch(100, 64, "mask")
        (1, 2)
    """
    return n // batch_size if remainder == "drop" else -(-n // batch_size)


def epoch_rows(
    key: jax.Array, epoch: int | jax.Array, n: int, *, batch_size: int, remainder: str, multiple: int = 1
) -> tuple[jax.Array, jax.Array | None]:
    """Returns which pairs the mini-batches of an epoch hold, each padded to a multiple of `multiple`.

    The run's key is folded, not consumed. Epochs are counted from 0; n is at least the batch size.

    Example:
        >>> rows, where = epoch_rows(jax.random.key(0), 0, 5, batch_size=3, remainder="mask")
        >>> rows.shape, sorted(rows[where].tolist())
        ((2, 3), [0, 1, 2, 3, 4])
    """
    steps = steps_per_epoch(n, batch_size, remainder)
    order = jax.random.permutation(shuffling_key(key, epoch), n)
    whole = jnp.resize(order, (steps * batch_size,)).reshape(steps, batch_size)
    padding = -batch_size % multiple
    rows = jnp.pad(whole, ((0, 0), (0, padding)), mode="wrap") if padding else whole
    if not padding and remainder == "drop":
        return rows, None
    place = batch_size * np.arange(steps)[:, None] + np.arange(batch_size + padding)
    return rows, jnp.asarray((place < n) & (np.arange(batch_size + padding) < batch_size))


def epoch_batches(
    split: PairedSplit,
    key: jax.Array,
    epoch: int,
    *,
    batch_size: int,
    remainder: str,
    first_step: int = 0,
    neighbourhoods: Neighbourhoods | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> Generator[Batch]:
    """Sends the mini-batches of an epoch from host arrays or from disk to the device, one by one.

    The next mini-batches are read and sent in a thread, while the caller works. Whoever does not take all of them
    closes the iterator, which ends the thread.

    Args:
        split: the training pairs.
        key: the run's key; it is folded, not consumed.
        epoch: counted from 0.
        batch_size: pairs of a mini-batch.
        remainder: as in `steps_per_epoch`.
        first_step: the first mini-batch to send, for an epoch that was interrupted.
        neighbourhoods: of all pairs of the split, from `split_neighbourhoods`; or `None`.
        mesh: as in `TrainState`; each process reads and sends the rows of its own devices only.

    Yields:
        The mini-batches.

    Example:
        >>> import numpy as np
        >>> split = PairedSplit(np.ones((5, 3)), np.ones((5, 2)))
        >>> batches = epoch_batches(split, jax.random.key(0), 0, batch_size=2, remainder="drop")
        >>> [batch.images.shape for batch in batches]
        [(2, 3), (2, 3)]
    """
    options = {"batch_size": batch_size, "remainder": remainder, "multiple": shares(mesh)}
    rows, where = jax.device_get(_epoch_rows(key, epoch, len(split), **options))

    def send(step):
        arrays = split.images, split.texts, neighbourhoods
        images, texts, near = jax.tree.map(lambda of: _send(of, rows[step], mesh), arrays)
        groups = None if split.groups is None else split.groups[rows[step]]
        return Batch(images, texts, None if where is None else where[step], near, groups)

    yield from read_ahead(send, range(first_step, len(rows)))


_epoch_rows = jax.jit(epoch_rows, static_argnums=2, static_argnames=("batch_size", "remainder", "multiple"))


def _send(array, rows, mesh):
    """Rows of a host array, on the device or spread over the devices."""
    if mesh is None:
        return jax.device_put(array[rows])
    shape = len(rows), array.shape[1]
    return jax.make_array_from_callback(shape, row_sharding(mesh), lambda index: array[rows[index[0]]])


def _take(array, rows, mesh):
    """Rows of an array on the devices; with a mesh each device ends with its share of them."""
    if mesh is None:
        return array[rows]

    # Any device may hold any row: each puts in what it has, zeros for the rest, and takes its share of the sum. Adding
    # zeros changes no bit.
    def take(local, rows):
        places = rows - jax.lax.axis_index(AXIS) * len(local)
        here = (places >= 0) & (places < len(local))
        found = jnp.where(here[:, None], local[jnp.clip(places, 0, len(local) - 1)], 0)
        # Not psum_scatter: after one between processes on CPUs (Gloo), every all-reduce was far slower, in a trial.
        share = len(rows) // jax.lax.axis_size(AXIS)
        return jax.lax.dynamic_slice_in_dim(jax.lax.psum(found, AXIS), jax.lax.axis_index(AXIS) * share, share)

    spread = PartitionSpec(AXIS)
    return jax.shard_map(take, mesh=mesh, in_specs=(spread, PartitionSpec()), out_specs=spread)(array, rows)
