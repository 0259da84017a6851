"""Distances of methods that encode each modality by itself: with the bank of training pairs or without.

What the bank does is in `gpldan_jax.models.bank`; here any method can have one, so that it can be compared with ours.

Letters: `n` images; `m` texts; `d_i`, `d_t` widths of the inputs; `h` width of a code.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpldan_jax.baselines.perceptrons import cosine_distances_between
from gpldan_jax.data import PairedSplit
from gpldan_jax.models import Bank, Projector, choose_pairs, make_bank, move, network_bank
from gpldan_jax.retrieval import retrieval_distances

_move = jax.jit(move, static_argnames="modality")


@dataclasses.dataclass(frozen=True, eq=False)
class CosineDistances:
    """Cosine distances of codes; it is a `gpldan_jax.baselines.method.Distances`.

    Attributes:
        encode_images: takes images `[n, d_i]`, gives `[n, h]`.
        encode_texts: takes texts `[m, d_t]`, gives `[m, h]`.
    """

    encode_images: Callable[[np.ndarray], Any]
    encode_texts: Callable[[np.ndarray], Any]

    def __call__(self, images: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Returns the distances `[n, m]`."""
        return cosine_distances_between(self.encode_images(images), self.encode_texts(texts))

    def with_bank(self, train: PairedSplit, bank: Mapping[str, Any]) -> "CosineDistances":
        """Returns the distances after a move by the training pairs; `bank` has `pairs`, `neighbours` and `weight`."""
        options = dict(bank)
        pairs = choose_pairs(train.images, train.texts, pairs=options.pop("pairs"))
        filled = make_bank(pairs, self.encode_images(pairs.images), self.encode_texts(pairs.texts), **options)
        filled = jax.device_put(filled)

        def moved(encode, modality):
            return lambda inputs: _move(filled, inputs, jnp.asarray(encode(inputs), jnp.float32), modality)

        return CosineDistances(moved(self.encode_images, "image"), moved(self.encode_texts, "text"))


@dataclasses.dataclass(frozen=True, eq=False)
class ProjectorDistances:
    """Distances of Eq. 2-5 under a projector; it is a `gpldan_jax.baselines.method.Distances`.

    Attributes:
        projector: the network.
        parameters: of the projector.
        bank: of training pairs, or `None`.
    """

    projector: Projector
    parameters: Any
    bank: Bank | None = None

    def __call__(self, images: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Returns the distances `[n, m]`."""
        return retrieval_distances(self.projector, self.parameters, images, texts, bank=self.bank)

    def with_bank(self, train: PairedSplit, bank: Mapping[str, Any]) -> "ProjectorDistances":
        """Returns the distances after a move by the training pairs; `bank` has `pairs`, `neighbours` and `weight`."""
        options = dict(bank)
        pairs = choose_pairs(train.images, train.texts, pairs=options.pop("pairs"))
        return dataclasses.replace(self, bank=network_bank(self.projector, self.parameters, pairs, **options))
