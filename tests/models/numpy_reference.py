"""Eq. 1 in NumPy, and parameters to try it on."""

import jax
import numpy as np


def equation_1(parts, w1, w2):
    """`softmax_k(W2 tanh(W1 x^T))` of one instance, `parts: [k, h]`, in the paper's orientation of W1 and W2."""
    scores = np.exp(w2 @ np.tanh(w1 @ parts.T))
    return scores / scores.sum()


def drawn_variables(module, *inputs, scale=1.0):
    """Variables of the right shapes without compiling `init`, whose own draw is the business of `test_linear`.

    With a scale of 1 the attention maps are far from uniform.
    """
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    return jax.tree.map(lambda x: (scale * rng.normal(size=x.shape)).astype(np.float32), shapes)
