"""Labels of the supervised methods: which items share a class, and the targets of classifiers.

Letters: `n` items; `C` classes. Labels are `[n]`, whole numbers in 0..C-1, or `[n, C]` bool for items with several.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def count_classes(labels: np.ndarray) -> int:
    """Returns C.

    Example:
        >>> count_classes(np.array([0, 2])), count_classes(np.array([[True, False]]))
        (3, 2)
    """
    return labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1


def share_a_class(labels: jax.Array) -> jax.Array:
    """Returns which items have a class in common, `[n, n]` bool.

    Example:
        >>> share_a_class(jnp.array([[True, True], [False, True], [True, False]]))[0].tolist()
        [True, True, True]
    """
    if labels.ndim == 1:
        return labels[:, None] == labels
    members = labels.astype(jnp.float32)
    return members @ members.T > 0


def class_targets(labels: Any, classes: int) -> jax.Array:
    """Returns float32 `[n, C]`: 1 in the column of each class of an item, else 0.

    Example:
        >>> class_targets(jnp.array([1]), 2).tolist()
        [[0.0, 1.0]]
    """
    return jax.nn.one_hot(labels, classes) if labels.ndim == 1 else labels.astype(jnp.float32)
