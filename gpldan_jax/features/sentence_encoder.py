"""Features of texts by an encoder of BERT's type, from a folder as Hugging Face's `transformers` saves one.

A text that is too long for the encoder is cut into windows, and windows are encoded in batches.

Letters: `n` texts, `d` features, `b` windows of a batch, `t` tokens of the longest window in it.
"""

import dataclasses
import itertools
import math
import os
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax._extras import failing_as, needed_for
from gpldan_jax.features.bag_of_words import check_texts
from gpldan_jax.features.model_folders import (
    PICKLE,
    SAFETENSORS,
    TOKENIZER,
    TRUSTED,
    VOCABULARIES,
    hash_files,
    quiet,
    read_config,
    read_model,
    weight_files,
)

POOLINGS = ("mean", "cls")
LONG_TEXTS = ("windows", "truncate")
_NO_LIMIT = 10**9  # a tokenizer without a limit says 10**30


@dataclasses.dataclass(frozen=True, eq=False)
class SentenceEncoder:
    """A text encoder, as `sentence_encoder` reads it; calling it encodes texts, in any number of threads.

    Attributes:
        model: of `transformers`.
        tokenizer: of `transformers`.
        pooling: as given to `sentence_encoder`.
        long_texts: as given to `sentence_encoder`.
        batch: as given to `sentence_encoder`.
        max_tokens: the most tokens that the model takes at once, special tokens included.
        dim: `d`.
        before: the special tokens before each window.
        after: the special tokens after each window.
        files: the SHA-256 of each file that was read, by name.
    """

    model: Any = dataclasses.field(repr=False)
    tokenizer: Any = dataclasses.field(repr=False)
    pooling: str
    long_texts: str
    batch: int
    max_tokens: int
    dim: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    files: Mapping[str, str]

    @property
    def description(self) -> dict[str, Any]:
        """How the features are made, as JSON values: the files, the settings and the versions of the libraries."""
        import torch
        import transformers

        return {
            "extractor": "transformers",
            "model_type": self.model.config.model_type,
            "files": dict(self.files),
            "pooling": self.pooling,
            "long_texts": self.long_texts,
            "max_tokens": self.max_tokens,
            "dim": self.dim,
            "versions": {"transformers": transformers.__version__, "torch": str(torch.__version__)},
        }

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the features of texts.

        The other texts of a batch may change the last bits of a text's features.

        Args:
            texts: `n` strings.

        Returns:
            float32 `[n, d]`.

        Raises:
            TypeError: a text that is not a string.
            ValueError: a text that is not valid Unicode.
        """
        tokens = self._tokens(texts)
        if not tokens:
            return np.empty((0, self.dim), np.float32)
        whole, room = self.long_texts == "windows", self._room
        of_texts = [split_windows(text, room) if whole else [text[:room]] for text in tokens]
        windows = [[*self.before, *window, *self.after] for of_text in of_texts for window in of_text]
        features = np.empty((len(windows), self.dim), np.float32)
        padding = self.tokenizer.pad_token_id or 0  # masked places only need to hold some token
        for rows in batches_by_length(windows, self.batch):
            features[rows] = _encode(self.model, self.pooling, *pad_windows([windows[row] for row in rows], padding))
        return mean_by_group(features, [len(of_text) for of_text in of_texts])

    def too_long(self, texts: Sequence[str]) -> np.ndarray:
        """Returns which texts have more tokens than the model takes at once, so that `long_texts` matters.

        Args:
            texts: `n` strings.

        Returns:
            bool `[n]`.

        Raises:
            TypeError: a text that is not a string.
            ValueError: a text that is not valid Unicode.
        """
        return np.array([len(text) > self._room for text in self._tokens(texts)], bool)

    @property
    def _room(self):
        return self.max_tokens - len(self.before) - len(self.after)

    def _tokens(self, texts):
        texts = check_unicode(texts)
        return _token_ids(self.tokenizer, texts, special=False) if texts else []


def sentence_encoder(
    path: str | os.PathLike, pooling: str = "mean", long_texts: str = "windows", batch: int = 32
) -> SentenceEncoder:
    """Returns an encoder of BERT's type (BERT, RoBERTa, DistilBERT, MPNet, ELECTRA and others) read from a folder.

        encode = sentence_encoder("all-MiniLM-L6-v2")
        features = encode(["a red heart", "a rose"])  # float32 [2, 384]

    Only files of the folder are read, and none of them can run code: `config.json`, a tokenizer (`tokenizer.json`, or a
    vocabulary from which `transformers` makes one), and weights, through `read_state_dict`, in `model.safetensors`, in
    the files that `model.safetensors.index.json` names, or else in `pytorch_model.bin`. The model computes in float32
    on the CPU, without dropout.

    Features are not scaled to unit length. The settings that `sentence-transformers` stores beside the model (pooling,
    `max_seq_length`, normalisation) are not read.

    Args:
        path: the folder.
        pooling: "mean", the mean of the last hidden states over all tokens of a text, special tokens included, or
            "cls", the last hidden state of its first token. "mean" is better for a model that was not trained for
            "cls": for a pretrained BERT, its rank correlation with human judgements of similarity is .5481, and that of
            "cls" .2919, on the mean of seven datasets (Reimers and Gurevych, Table 1).
        long_texts: how a text is encoded that has more tokens than the model takes at once. "windows": the text is cut
            into as few windows as possible, whose lengths differ by one token at most; each gets special tokens, and
            the features are the mean of the windows' features. "truncate": only the first window counts, and it is
            full.
        batch: how many windows the model takes at once.

    Returns:
        The encoder. The most tokens it takes at once is the smaller one of the tokenizer's limit (`model_max_length`)
        and the model's (`max_position_embeddings`, less the positions that RoBERTa's type reserves for padding).

    Raises:
        ValueError: an unknown `pooling` or `long_texts`, a `batch` below 1; no such folder, one that lacks a file, a
            damaged file, weights that lack a layer or do not fit, or a model of another type (such as T5 or CLIP). The
            message is one line that names the folder.
        ImportError: `transformers` or `torch` is missing or too old.

    Example:
        >>> sentence_encoder("no/such/directory")
        Traceback (most recent call last):
        ValueError: no/such/directory: expected the directory of an encoder, found none

    References:
        N. Reimers and I. Gurevych, "Sentence-BERT", 2019, https://arxiv.org/abs/1908.10084.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be {' or '.join(POOLINGS)}, got {pooling!r}")
    if long_texts not in LONG_TEXTS:
        raise ValueError(f"long_texts must be {' or '.join(LONG_TEXTS)}, got {long_texts!r}")
    if not isinstance(batch, int) or batch < 1:
        raise ValueError(f"batch must be a whole number, 1 or more, got {batch!r}")
    path = Path(path)
    weights = weight_files(path, [VOCABULARIES, (*SAFETENSORS, PICKLE)])
    with needed_for("a sentence encoder", "bert"):
        import torch  # noqa: F401, before transformers, which would complain
        import transformers  # noqa: F401
    with quiet("a sentence encoder", "bert"):
        config, tokenizer, before, after = _read_tokenizer(path)
        model, _ = read_model(path, config, weights)
        with failing_as(f"{path}: its model, of type {config.model_type}, does not take texts"):
            window = _token_ids(tokenizer, ["a"], special=True)
            dim = _encode(model, pooling, *pad_windows(window, 0)).shape[1]
        found, expected = max(tokenizer.get_vocab().values()) + 1, model.get_input_embeddings().num_embeddings
        if found > expected:
            raise ValueError(f"{path}: expected a tokenizer of the model's {expected} tokens, found one of {found}")
        max_tokens = _max_tokens(path, model, tokenizer)
        if max_tokens <= len(before) + len(after):
            raise ValueError(f"{path}: expected a model that takes more than special tokens, found {max_tokens} tokens")
    files = hash_files(path, ["config.json", *TOKENIZER, *(file.name for file in weights)])
    return SentenceEncoder(model, tokenizer, pooling, long_texts, batch, max_tokens, dim, before, after, files)


def check_unicode(texts: Sequence[str]) -> Sequence[str]:
    """Checks that texts are a list of strings in valid Unicode, as tokenizers need them."""
    texts = check_texts(texts if isinstance(texts, str) else list(texts))
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            shown = reprlib.repr(text)
            raise ValueError(f"expected texts in Unicode, found half a surrogate pair in {shown}") from None
    return texts


def split_windows(tokens: Sequence[int], room: int) -> list[Sequence[int]]:
    """Cuts the tokens of one text into as few consecutive windows as possible.

    The windows do not overlap, and their lengths differ by one at most. So no window is much shorter than the others,
    and the mean of the windows weighs all tokens nearly equally.

    Example:
        >>> split_windows([5, 6, 7, 8], room=3)
        [[5, 6], [7, 8]]
        >>> split_windows([], room=3)
        [[]]
    """
    count = max(1, math.ceil(len(tokens) / room))
    bounds = (index * len(tokens) // count for index in range(count + 1))
    return [tokens[start:stop] for start, stop in itertools.pairwise(bounds)]


def batches_by_length(windows: Sequence[Sequence[int]], size: int) -> list[np.ndarray]:
    """Groups the positions of windows by length, the longest first, so that little padding is needed; each is `[b]`.

    Example:
        >>> batches_by_length([[5], [6, 7, 8], [9, 9]], size=2)
        [array([1, 2]), array([0])]
    """
    order = np.argsort([-len(window) for window in windows], kind="stable")
    return [order[start : start + size] for start in range(0, len(order), size)]


def pad_windows(windows: Sequence[Sequence[int]], padding: int) -> tuple[np.ndarray, np.ndarray]:
    """Puts windows into one array: the tokens, int64 `[b, t]`, and a mask, int64 `[b, t]`, 1 where there is a token.

    Example:
        >>> pad_windows([[5, 6], [7]], padding=0)
        (array([[5, 6],
               [7, 0]]), array([[1, 1],
               [1, 0]]))
    """
    lengths = np.array([len(window) for window in windows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    tokens = np.full(mask.shape, padding, np.int64)
    tokens[mask] = np.concatenate(windows)
    return tokens, mask.astype(np.int64)


def mean_by_group(features: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """Returns the means `[n, d]` of consecutive rows, float32 `[sum of counts, d]`; each group has a row or more.

    Example:
        >>> mean_by_group(np.float32([[1], [3], [5]]), [2, 1])
        array([[2.],
               [5.]], dtype=float32)
    """
    sizes = np.array(counts)
    return np.add.reduceat(features, np.cumsum(sizes) - sizes, axis=0) / sizes[:, None].astype(np.float32)


def _read_tokenizer(path: Path) -> tuple[Any, Any, tuple[int, ...], tuple[int, ...]]:
    """The config, the tokenizer, and the special tokens before and after the tokens of a text."""
    import transformers

    config = read_config(path)
    if config.is_encoder_decoder or config.sub_configs:
        raise ValueError(
            f"{path}: expected an encoder of BERT's type, found a model of type {config.model_type}; "
            f"for that, write a function of a list of strings"
        )
    with failing_as(f"{path}: its tokenizer cannot be read"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, config=config, **TRUSTED)
        (plain,), (whole,) = (_token_ids(tokenizer, ["a"], special=special) for special in (False, True))
        start = next(start for start in range(len(whole)) if whole[start : start + len(plain)] == plain)
    if not start:
        raise ValueError(f"{path}: expected a tokenizer that puts a token before each text, as BERT's [CLS]")
    return config, tokenizer, tuple(whole[:start]), tuple(whole[start + len(plain) :])


def _token_ids(tokenizer, texts, *, special):
    return tokenizer(texts, add_special_tokens=special, verbose=False)["input_ids"]


def _max_tokens(path, model, tokenizer):
    import torch

    limits = [tokenizer.model_max_length]
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None:
        # RoBERTa counts from the position after that of padding.
        reserved = [
            module.padding_idx + 1
            for name, module in model.named_modules()
            if name.endswith("position_embeddings")
            and isinstance(module, torch.nn.Embedding)
            and module.padding_idx is not None
        ]
        limits.append(positions - max(reserved, default=0))
    if min(limits) > _NO_LIMIT:
        raise ValueError(
            f"{path} does not say how many tokens the model takes: "
            f"expected max_position_embeddings in config.json or model_max_length in tokenizer_config.json"
        )
    return min(limits)


def _encode(model, pooling, tokens, mask):
    """float32 `[b, d]` of int64 tokens and mask `[b, t]`."""
    import torch

    tokens, mask = torch.from_numpy(tokens), torch.from_numpy(mask)
    with torch.inference_mode():
        hidden = model(input_ids=tokens, attention_mask=mask, return_dict=True).last_hidden_state
        if pooling == "cls":
            return hidden[:, 0].numpy()
        weights = mask[..., None].to(hidden.dtype)
        return ((hidden * weights).sum(1) / weights.sum(1)).numpy()
