"""How a model file says what made the inputs of its model, so that unseen texts and pictures can go through the same.

`TrainedModel.metadata["features"]` is `{"image": {"extractor": NAME, ...}, "text": {"extractor": NAME, ...}}`; what
stands beside a name are that extractor's settings, JSON values. A model trained on features from elsewhere has none.

    "hog_hsv"        of uint8 [64, 64, 3] pictures
    "bag_of_words"   of strings; "vocabulary": the words

Letters: `n` items, `d` features.
"""

import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gpldan_jax.features.bag_of_words import BagOfWords
from gpldan_jax.features.hog_hsv import hog_hsv


def extractor(metadata: Mapping[str, Any], modality: str) -> Callable[[Sequence[Any]], np.ndarray]:
    """What makes a model's inputs, before their standardisation, of pictures or of texts.

    Args:
        metadata: of a `TrainedModel`.
        modality: "image" or "text".

    Returns:
        A function of a list of `n` strings, or of `n` uint8 pictures `[n, 64, 64, 3]` as `read_picture` makes them (an
        array or a list), that gives float32 `[n, d]`.

    Raises:
        ValueError: the model file names no extractor, one that is not known here, or settings that it cannot have.

    >>> metadata = {"features": {"text": {"extractor": "bag_of_words", "vocabulary": ["red", "rose"]}}}
    >>> extractor(metadata, "text")(["a red rose", "a violet"])
    array([[1., 1.],
           [0., 0.]], dtype=float32)
    """
    if modality not in _BUILDERS:
        raise ValueError(f"modality must be one of {', '.join(_BUILDERS)}, got {modality!r}")
    builders, features = _BUILDERS[modality], metadata.get("features")
    if features is None or (isinstance(features, Mapping) and features.get(modality) is None):
        raise ValueError(
            f"the model names no {modality} extractor: it was trained on features from elsewhere; give features"
        )
    description = features.get(modality) if isinstance(features, Mapping) else None
    name = description.get("extractor") if isinstance(description, Mapping) else None
    if not isinstance(name, str) or name not in builders:
        raise ValueError(
            f"the model names an unknown {modality} extractor: expected {' or '.join(builders)}, "
            f"found {reprlib.repr(features if name is None else name)}"
        )
    return builders[name](description)


def unknown_words(metadata: Mapping[str, Any], document: str) -> tuple[str, ...]:
    """The words of a text that a model has no feature for, in order, each once; none unless it has a bag of words.

    Raises:
        ValueError: as `extractor`.

    >>> metadata = {"features": {"text": {"extractor": "bag_of_words", "vocabulary": ["red", "rose"]}}}
    >>> unknown_words(metadata, "a red violet")
    ('violet',)
    """
    words = getattr(extractor(metadata, "text"), "__self__", None)
    return words.unknown(document) if isinstance(words, BagOfWords) else ()


def _hog_hsv(description):
    return hog_hsv


def _bag_of_words(description):
    words = description.get("vocabulary")
    return BagOfWords(tuple(words) if isinstance(words, list) else words).transform


_BUILDERS = {"image": {"hog_hsv": _hog_hsv}, "text": {"bag_of_words": _bag_of_words}}
