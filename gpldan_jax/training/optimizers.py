"""The two optimisers of Sec. 3.2, with the semantics of the PyTorch ones that the authors used."""

import jax
import optax


def adam_with_l2(
    learning_rate: float | jax.Array = 1e-4, weight_decay: float | jax.Array = 1e-4
) -> optax.GradientTransformation:
    """`torch.optim.Adam(lr, weight_decay=...)`, for the projector.

    PyTorch's weight decay is L2: it is added to the gradient before the moments are taken, which is not what
    `optax.adamw` does. Defaults: Sec. 3.2 of arXiv 2106.13552.

    >>> import jax.numpy as jnp
    >>> optimizer = adam_with_l2(0.1)
    >>> updates, _ = optimizer.update(jnp.array([2.0, -3.0]), optimizer.init(jnp.ones(2)), jnp.ones(2))
    >>> print(updates.round(3))  # Adam's first step has the size of the learning rate
    [-0.1  0.1]
    """
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(learning_rate))


def rmsprop(learning_rate: float | jax.Array = 5e-5) -> optax.GradientTransformation:
    """`torch.optim.RMSprop(lr)`, for the modality classifier.

    optax's own defaults differ from PyTorch's in the decay (0.9) and in where epsilon is added. Default rate: Sec. 3.2
    of arXiv 2106.13552.

    >>> import jax.numpy as jnp
    >>> optimizer = rmsprop(0.1)
    >>> updates, _ = optimizer.update(jnp.array([2.0, -3.0]), optimizer.init(jnp.ones(2)), jnp.ones(2))
    >>> print(updates.round(3))  # g / sqrt(0.01 g^2)
    [-1.  1.]
    """
    return optax.rmsprop(learning_rate, decay=0.99, eps=1e-8, eps_in_sqrt=False)
