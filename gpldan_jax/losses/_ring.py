"""The order in which devices pass their shares on: around a ring of neighbours, where the links between them are known.

On a TPU slice the devices are a grid. Where each device sends to a neighbour in the grid, XLA sends while the devices
compute. In the order of the mesh the last device of a row is no neighbour of the next one; then all devices wait.
"""

import functools
import math
from collections.abc import Sequence

import jax


@functools.lru_cache
def ring_order(mesh: jax.sharding.Mesh, axes: tuple[str, ...]) -> tuple[int, ...]:
    """Returns the positions of the devices along some axes of a mesh, in the order of the ring.

    Where the devices are no whole grid with an even side, they come in the order of the mesh.

    Args:
        mesh: the devices.
        axes: along which a share is passed on.

    Returns:
        Each position once; the last passes to the first.
    """
    others = tuple(name for name in mesh.axis_names if name not in axes)
    devices = mesh.devices.transpose([mesh.axis_names.index(name) for name in (*axes, *others)])
    along = devices.reshape(-1, math.prod(mesh.shape[name] for name in others))[:, 0]
    places = [tuple(getattr(device, "coords", ())) for device in along]
    return tuple(neighbour_ring(places) or range(len(along)))


def neighbour_ring(places: Sequence[tuple[int, ...]]) -> list[int] | None:
    """Returns the indices of places in a grid along a closed path of neighbours; `None` where there is none.

    Example:
        >>> neighbour_ring([(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2), (0, 3), (1, 3)])
        [0, 1, 3, 5, 7, 6, 4, 2]
        >>> neighbour_ring([(0, 0), (1, 0), (2, 0)]) is None
        True
    """
    at = {place[:2]: index for index, place in enumerate(places)}
    if len(at) < len(places) or not all(len(place) >= 2 for place in places):  # no grid, or several on one place
        return None
    xs, ys = (sorted({place[axis] for place in at}) for axis in (0, 1))
    if len(at) < len(xs) * len(ys) or min(len(xs), len(ys)) < 2 or len(at) % 2:
        return None
    if len(xs) % 2:  # then the other side is even, and the path goes up and down along it
        return neighbour_ring([(place[1], place[0]) for place in places])
    path = [(x, ys[0]) for x in xs]  # along one side, and back through all the rest
    for number, x in enumerate(reversed(xs)):
        path += [(x, y) for y in (ys[1:] if number % 2 == 0 else ys[:0:-1])]
    return [at[place] for place in path]
