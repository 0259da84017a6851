"""Zero mean and unit variance per feature, measured on the training split.

Shapes: `n` items, `d_i` and `d_t` image and text features.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from gpldan_jax.data.paired import SPLITS, PairedDataset


@dataclasses.dataclass(frozen=True, eq=False)
class Standardization:
    """The training means and standard deviations, for use on further features.

    Attributes:
        image_mean, image_std: [d_i] float32; 0 and 1 where images are left as they are.
        text_mean, text_std: [d_t] float32; 0 and 1 where texts are left as they are.
    """

    image_mean: np.ndarray
    image_std: np.ndarray
    text_mean: np.ndarray
    text_std: np.ndarray

    def images(self, features: np.ndarray) -> np.ndarray:
        """Applies the image statistics to [n, d_i] float32 features."""
        return (features - self.image_mean) / self.image_std

    def texts(self, features: np.ndarray) -> np.ndarray:
        """Applies the text statistics to [n, d_t] float32 features."""
        return (features - self.text_mean) / self.text_std


def standardize(dataset: PairedDataset, *, image: bool, text: bool) -> tuple[PairedDataset, Standardization]:
    """Standardises the features of all splits by the statistics of the training split.

    The statistics are taken in float64 and stored in float32; a column that is constant in the
    training split gets the standard deviation 1.

    Args:
        dataset: any dataset.
        image: whether to standardise the images.
        text: whether to standardise the texts.

    Returns:
        The standardised dataset and the statistics.

    Example:
        >>> from gpldan_jax.data.paired import paired_dataset
        >>> rows = (np.array([[1.0, 5.0], [3.0, 5.0]]), np.ones((2, 1)), None)
        >>> raw = paired_dataset("mine", train=rows, validation=rows, test=rows)
        >>> data, stats = standardize(raw, image=True, text=False)
        >>> data.test.images
        array([[-1.,  0.],
               [ 1.,  0.]], dtype=float32)
        >>> stats.image_std
        array([1., 1.], dtype=float32)
    """
    statistics = Standardization(*_mean_and_std(dataset.train.images, image), *_mean_and_std(dataset.train.texts, text))
    splits = {}
    for name in SPLITS:
        split = getattr(dataset, name)
        splits[name] = dataclasses.replace(
            split,
            images=statistics.images(split.images) if image else split.images,
            texts=statistics.texts(split.texts) if text else split.texts,
        )
    return dataclasses.replace(dataset, **splits), statistics


def _mean_and_std(features: np.ndarray, apply: bool) -> tuple[np.ndarray, np.ndarray]:
    width = features.shape[1]
    if not apply:
        return np.zeros(width, np.float32), np.ones(width, np.float32)
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    std = features.std(axis=0, dtype=np.float64).astype(np.float32)
    # Rounding gives constant columns a tiny std, so they are recognised by their range; a std
    # below the smallest normal float32 would overflow the quotient.
    constant = (features.max(axis=0) == features.min(axis=0)) | (std < np.finfo(np.float32).tiny)
    mean = np.where(constant, features[0], mean)
    return mean, np.where(constant, np.float32(1), std)
