"""The encoder that a model file names, so that new texts and pictures get the features the model was trained with.

`TrainedModel.metadata["features"]` is `{"image": {"extractor": NAME, ...}, "text": {"extractor": NAME, ...}}`. The
other keys are JSON values, the settings of that extractor. A model that was trained on a user's own features has none.

    "hog_hsv"            of pictures
    "vgg19", "alexnet"   of pictures; needs the file of the weights
    "bag_of_words"       of strings; "vocabulary": the words; "analyzer" and more: the settings of `Tokenizer`
    "transformers", "open_clip"   of pictures or strings; needs the folder of the encoder
    "timm"               of pictures; needs the folder of the encoder

Letters: `n` items, `d` features, `h` x `w` pixels.
"""

import os
import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gpldan_jax.features.bag_of_words import BagOfWords
from gpldan_jax.features.image_encoders import ImageEncoder, hog_hsv_encoder, network_encoder
from gpldan_jax.features.networks import ARCHITECTURES
from gpldan_jax.features.open_clip_encoders import open_clip_image_encoder, open_clip_text_encoder
from gpldan_jax.features.sentence_encoder import sentence_encoder
from gpldan_jax.features.timm_encoders import timm_image_encoder
from gpldan_jax.features.tokenizer import Tokenizer
from gpldan_jax.features.torch_encoders import TEXT_FEATURES
from gpldan_jax.features.transformers_encoders import transformers_image_encoder, transformers_text_encoder

IMAGE_FOLDERS: dict[str, Callable[..., Any]] = {
    "transformers": transformers_image_encoder,
    "timm": timm_image_encoder,
    "open_clip": open_clip_image_encoder,
}
"""The image encoders that are read from a folder, by the library that reads it."""
TEXT_FOLDERS: dict[str, Callable[..., Any]] = {
    "transformers": transformers_text_encoder,
    "open_clip": open_clip_text_encoder,
}
"""The text encoders that are read from a folder; encoders of BERT's type are among those of transformers."""


class SourceNeededError(ValueError):
    """An extractor needs weights that the model file does not hold; the message says which."""


class FolderNeededError(SourceNeededError):
    """The extractor needs the folder of an encoder."""


class FunctionNeededError(SourceNeededError):
    """The extractor is a function of the user's."""


def extractor(
    metadata: Mapping[str, Any], modality: str, source: str | os.PathLike | None = None
) -> Callable[[Sequence[Any]], np.ndarray]:
    """Returns the function that makes the inputs of a model, before they are standardised.

    Args:
        metadata: of a `TrainedModel`.
        modality: "image" or "text".
        source: the file of the weights, or the folder of the encoder, for an extractor that needs one.

    Returns:
        A function of a list of `n` strings, or of `n` uint8 pictures `[h, w, 3]` as `read_image` returns them. It
        returns float32 `[n, d]`.

    Raises:
        SourceNeededError: the extractor needs a source and got none, or it is a function that is not of this package.
        ValueError: the model file names no extractor, an unknown one, or settings that the extractor cannot have; or a
            source that the extractor does not need, or other weights than those the model was trained with.

    Example:
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
    if isinstance(name, str) and ":" in name:  # a model file must not decide which code is run
        raise FunctionNeededError(
            f"the model's {modality}s went through {reprlib.repr(name)}, a function that is not of this package; "
            "give features"
        )
    if not isinstance(name, str) or name not in builders:
        raise ValueError(
            f"the model names an unknown {modality} extractor: expected {' or '.join(builders)}, "
            f"found {reprlib.repr(features if name is None else name)}"
        )
    return builders[name](description, source)


def unknown_words(metadata: Mapping[str, Any], document: str) -> tuple[str, ...]:
    """Returns the words of a text that the vocabulary of a model lacks.

    Args:
        metadata: of a `TrainedModel`.
        document: a text.

    Returns:
        The words in the order of the text, each once; none where the model's texts are no bags of words.

    Raises:
        ValueError: the model file names no text extractor, an unknown one, or settings that it cannot have.

    Example:
        >>> metadata = {"features": {"text": {"extractor": "bag_of_words", "vocabulary": ["red", "rose"]}}}
        >>> unknown_words(metadata, "a red violet")
        ('violet',)
    """
    try:
        words = getattr(extractor(metadata, "text"), "__self__", None)
    except SourceNeededError:
        return ()
    return words.unknown(document) if isinstance(words, BagOfWords) else ()


def _hog_hsv(description, source):
    _check_no_source(description, source)
    return _of_pictures(hog_hsv_encoder())


def _network(description, source):
    name, sha256 = description["extractor"], _text(description, "weights", "sha256")
    if source is None:
        raise SourceNeededError(
            f"the model's images went through {name}: give the file of its weights (SHA-256 {sha256[:16]}...)"
        )
    scaling, rectified = _text(description, "preprocessing", "scaling"), description.get("rectified") is True
    encode = network_encoder(name, source, rectified=rectified, scaling=scaling, batch=1)
    if encode.description["weights"]["sha256"] != sha256:
        raise ValueError(f"{source}: other weights than those the model was trained with (SHA-256 {sha256[:16]}...)")
    return _of_pictures(encode)


def _bag_of_words(description, source):
    _check_no_source(description, source)
    words = description.get("vocabulary")
    return BagOfWords(
        tuple(words) if isinstance(words, list) else words, Tokenizer.from_description(description)
    ).transform


def _folder_of_pictures(description, source):
    name = description["extractor"]
    files = _files(description, "image", source)
    encode = IMAGE_FOLDERS[name](source, batch=1)
    _check_files(encode, files, source)
    if encode.description["feature"] != description.get("feature"):
        raise ValueError(
            f"{source}: the model was trained with the features {reprlib.repr(description.get('feature'))} of this "
            f"encoder, this version takes {encode.description['feature']!r}"
        )
    return _of_pictures(encode)


def _folder_of_texts(description, source):
    files = _files(description, "text", source)
    encode: Any
    if description["extractor"] == "transformers" and description.get("feature") != TEXT_FEATURES:
        encode = sentence_encoder(
            source, pooling=str(description.get("pooling")), long_texts=str(description.get("long_texts"))
        )
    else:
        encode = TEXT_FOLDERS[description["extractor"]](source)
    _check_files(encode, files, source)
    return encode


def _files(description, modality, source):
    files = description.get("files")
    if not isinstance(files, Mapping):
        raise ValueError(f"the model names no files of its {modality} encoder, found {reprlib.repr(files)}")
    if source is None:
        raise FolderNeededError(
            f"the model's {modality}s went through an encoder of {description['extractor']}, "
            f"{reprlib.repr(description.get('model_type'))}: give its directory"
        )
    return files


def _check_files(encode, files, source):
    found = encode.description["files"]
    for name in sorted(found.keys() | files.keys()):
        if found.get(name) != files.get(name):
            raise ValueError(f"{source}: {reprlib.repr(name)} is not the one that the model was trained with")


def _of_pictures(encode: ImageEncoder) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    return lambda pictures: encode([encode.prepare(picture) for picture in pictures])


def _check_no_source(description, source):
    if source is not None:
        raise ValueError(f"the extractor {description['extractor']} needs no file, got {source}")


def _text(description, *keys):
    value = description
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, str):
        raise ValueError(f"the model file lacks {'.'.join(keys)} of the extractor, found {reprlib.repr(value)}")
    return value


_BUILDERS = {
    "image": {
        "hog_hsv": _hog_hsv,
        **dict.fromkeys(ARCHITECTURES, _network),
        **dict.fromkeys(IMAGE_FOLDERS, _folder_of_pictures),
    },
    "text": {"bag_of_words": _bag_of_words, **dict.fromkeys(TEXT_FOLDERS, _folder_of_texts)},
}
