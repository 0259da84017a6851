"""Texts of any length as windows of tokens, and windows as padded batches.

Letters: `b` windows of a batch, `t` tokens of its longest one.

Features of texts by an encoder of BERT's type, from a directory as Hugging Face's `transformers` saves one.

Letters: `n` texts, `d` features, `b` windows of a batch, `t` tokens of its longest one.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import logging
import math
import os
import reprlib
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpldan_jax._extras import needed_for
from gpldan_jax.features.bag_of_words import _strings
from gpldan_jax.features.state_dict import read_state_dict


def cut(tokens: Sequence[int], room: int) -> list[Sequence[int]]:
    """Cuts the tokens of one text into as few consecutive windows as hold them.

    The windows do not overlap, and their lengths differ by at most one, so that no window has only what was left over
    and windows of equal weight give tokens of nearly equal weight.

    Args:
        tokens: of one text, without special tokens.
        room: the most tokens of a window, 1 or more.

    Returns:
        The windows in order, at least one; it is empty where there are no tokens.

    Example:
        >>> cut([5, 6, 7, 8], room=3)
        [[5, 6], [7, 8]]
        >>> cut([], room=3)
        [[]]
    """
    count = max(1, math.ceil(len(tokens) / room))
    bounds = (index * len(tokens) // count for index in range(count + 1))
    return [tokens[start:stop] for start, stop in itertools.pairwise(bounds)]


def batches(windows: Sequence[Sequence[int]], size: int) -> list[np.ndarray]:
    """The numbers of the windows, the longest first, `size` at a time: windows of like length need little padding.

    Example:
        >>> batches([[5], [6, 7, 8], [9, 9]], size=2)
        [array([1, 2]), array([0])]
    """
    order = np.argsort([-len(window) for window in windows], kind="stable")
    return [order[start : start + size] for start in range(0, len(order), size)]


def padded(windows: Sequence[Sequence[int]], padding: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows as a rectangle.

    Returns:
        tokens: int64 `[b, t]`, `padding` after the end of a window.
        mask: int64 `[b, t]`, 1 where there is a token, else 0.

    Example:
        >>> padded([[5, 6], [7]], padding=0)
        (array([[5, 6],
               [7, 0]]), array([[1, 1],
               [1, 0]]))
    """
    lengths = np.array([len(window) for window in windows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    tokens = np.full(mask.shape, padding, np.int64)
    tokens[mask] = np.concatenate(windows)
    return tokens, mask.astype(np.int64)


POOLINGS = ("mean", "cls")
LONG_TEXTS = ("windows", "truncate")

_VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
_TOKENIZER = (*_VOCABULARIES, "added_tokens.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
_NO_LIMIT = 10**9  # a tokenizer without a limit says 10**30


@dataclasses.dataclass(frozen=True, eq=False)
class SentenceEncoder:
    """What `sentence_encoder` reads: a function of texts.

    Threads may share it.

    Attributes:
        model, tokenizer: of `transformers`.
        pooling, long_texts, batch: as given to `sentence_encoder`.
        max_tokens: the most tokens that the model takes at once, special ones included.
        dim: `d`.
        before, after: the special tokens around each window.
        files: the sha256 of each file that was read, by name.
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
        """What made the features, JSON values: the files, the settings and the versions of the libraries."""
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
        """float32 `[n, d]`, the features of `n` texts.

        What else is in a batch may change the last bits of a text's features, nothing else.

        Raises:
            TypeError: a text that is not a string.
            ValueError: a text that is no Unicode.
        """
        tokens = self._tokens(texts)
        if not tokens:
            return np.empty((0, self.dim), np.float32)
        whole = self.long_texts == "windows"
        of_texts = [cut(text, self._room) if whole else [text[: self._room]] for text in tokens]
        windows = [[*self.before, *window, *self.after] for of_text in of_texts for window in of_text]
        features = np.empty((len(windows), self.dim), np.float32)
        for rows in batches(windows, self.batch):
            features[rows] = _features(self.model, self.pooling, *padded([windows[row] for row in rows], self._padding))
        counts = np.array([len(of_text) for of_text in of_texts])
        return np.add.reduceat(features, np.cumsum(counts) - counts) / counts[:, None].astype(np.float32)

    def too_long(self, texts: Sequence[str]) -> np.ndarray:
        """bool `[n]`: which texts have more tokens than the model takes at once, so that `long_texts` matters.

        Raises:
            TypeError, ValueError: as the features of the texts.
        """
        return np.array([len(text) > self._room for text in self._tokens(texts)], bool)

    @property
    def _room(self):
        return self.max_tokens - len(self.before) - len(self.after)

    @property
    def _padding(self):
        return self.tokenizer.pad_token_id or 0  # what is masked only needs to be some token

    def _tokens(self, texts):
        texts = _strings(texts if isinstance(texts, str) else list(texts))
        for text in texts:
            try:
                text.encode()
            except UnicodeEncodeError:
                raise ValueError(
                    f"expected texts in Unicode, found half a surrogate pair in {reprlib.repr(text)}"
                ) from None
        return _token_ids(self.tokenizer, texts, special=False) if texts else []


def sentence_encoder(
    path: str | os.PathLike, pooling: str = "mean", long_texts: str = "windows", batch: int = 32
) -> SentenceEncoder:
    """Reads an encoder of BERT's type: BERT, RoBERTa, DistilBERT, MPNet, ELECTRA and the like.

        encode = sentence_encoder("all-MiniLM-L6-v2")
        features = encode(["a red heart", "a rose"])  # float32 [2, 384]

    Only files of the directory are read, none of which can run code: `config.json`, a tokenizer (`tokenizer.json`, or a
    vocabulary from which `transformers` makes one), and weights, through `read_state_dict`, in `model.safetensors`, in
    the files that `model.safetensors.index.json` names, or else in `pytorch_model.bin`. The model computes in float32
    on the CPU, without dropout.

    Features are not scaled to unit length, and settings of `sentence-transformers` beside the model (its pooling, its
    `max_seq_length`, its normalisation) are not read: of a text, all tokens count.

    Args:
        path: the directory.
        pooling: "mean", the mean of the last hidden states over all tokens of a text, special ones included, or "cls",
            the last hidden state of its first token. The mean is better where the model was not trained for its "cls":
            of a BERT as pretrained it reaches a rank correlation of .5481 with human judgements of similarity, the mean
            of seven datasets, and "cls" .2919 (Reimers and Gurevych, 2019, Table 1, https://arxiv.org/abs/1908.10084).
        long_texts: what becomes of a text with more tokens than the model takes at once. "windows": it is cut into as
            few windows as hold it, of equal length but for one token, each with special tokens of its own, and its
            features are the mean of the windows' features. "truncate": only the first window counts, which is full.
        batch: how many windows the model takes at once.

    Returns:
        The encoder. The model takes at once what both its tokenizer (`model_max_length`) and its positions
        (`max_position_embeddings`, less those that RoBERTa's type keeps for padding) allow.

    Raises:
        ValueError: an unknown `pooling` or `long_texts`, a `batch` below 1; no such directory, one that lacks a file,
            a file that is broken, weights that lack a layer or do not fit, a model that is not of that type (such as
            T5 or CLIP). The message is one line that names the directory.
        ImportError: `transformers` or `torch` is missing or too old.

    Example:
        >>> sentence_encoder("no/such/directory")
        Traceback (most recent call last):
        ValueError: no/such/directory: expected the directory of an encoder, found none
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be {' or '.join(POOLINGS)}, got {pooling!r}")
    if long_texts not in LONG_TEXTS:
        raise ValueError(f"long_texts must be {' or '.join(LONG_TEXTS)}, got {long_texts!r}")
    if not isinstance(batch, int) or batch < 1:
        raise ValueError(f"batch must be a whole number, 1 or more, got {batch!r}")
    path = Path(path)
    weights = _weight_files(path)
    with needed_for("a sentence encoder", "bert"):
        import torch  # noqa: F401, before transformers, which would complain
        import transformers

    with _quiet():
        with _refused(f"{path}/config.json cannot be read"):
            config = transformers.AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        if config.is_encoder_decoder or config.sub_configs:
            raise ValueError(
                f"{path}: expected an encoder of BERT's type, found a model of type {config.model_type}; "
                f"for that, write a function of a list of strings"
            )
        with _refused(f"{path}: its tokenizer cannot be read"):
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                path, config=config, local_files_only=True, trust_remote_code=False
            )
            before, after = _special_tokens(tokenizer)
        if not before:
            raise ValueError(f"{path}: expected a tokenizer that puts a token before each text, as BERT's [CLS]")
        model = _model(path, config, weights)
        with _refused(f"{path}: its model, of type {config.model_type}, does not take texts"):
            dim = _features(model, pooling, *padded(_token_ids(tokenizer, ["a"], special=True), 0)).shape[1]
        _check_vocabulary(path, model, tokenizer)
        max_tokens = _max_tokens(path, model, tokenizer)
        if max_tokens <= len(before) + len(after):
            raise ValueError(f"{path}: expected a model that takes more than special tokens, found {max_tokens} tokens")
    names = {"config.json", *_TOKENIZER, *(file.name for file in weights)}
    files = {name: _sha256(path / name) for name in sorted(names) if (path / name).is_file()}
    return SentenceEncoder(
        model, tokenizer, pooling, long_texts, batch, max_tokens, dim, tuple(before), tuple(after), files
    )


def _weight_files(path):
    """The files of the weights, an index first; `ValueError` unless all that is needed is there."""
    if not path.is_dir():
        raise ValueError(f"{path}: expected the directory of an encoder, found none")
    for names in (("config.json",), _VOCABULARIES, _WEIGHTS):
        if not any((path / name).is_file() for name in names):
            raise ValueError(f"{path} lacks {' or '.join(names)}")
    weights = next(path / name for name in _WEIGHTS if (path / name).is_file())
    if weights.suffix != ".json":
        return [weights]
    with _refused(f"{weights} cannot be read"):
        names = sorted({os.fspath(name) for name in json.loads(weights.read_bytes())["weight_map"].values()})
    for name in names:
        if Path(name).name != name or not (path / name).is_file():
            raise ValueError(f"{path} lacks {name!r}, which {weights.name} names")
    return [weights, *(path / name for name in names)]


def _model(path, config, weights):
    """The model with its weights; `ValueError` where one is missing, which `transformers` would make up."""
    import torch
    import transformers

    tensors = {}
    for file in weights:
        if file.suffix != ".json":
            tensors |= _tensors(file)
    with _refused(f"{path}: its model cannot be made"):
        with torch.device("meta"):
            model_class = type(transformers.AutoModel.from_config(config, trust_remote_code=False))
        model, found = model_class.from_pretrained(
            None,
            config=config,
            state_dict=tensors,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    order = list(model.state_dict())
    missing = [name for name in found["missing_keys"] if name.split(".")[0] != "pooler"]
    if missing:
        raise ValueError(f"{path}: its weights lack {min(missing, key=order.index)}")
    if found["mismatched_keys"]:
        name, shape, expected = min(found["mismatched_keys"], key=lambda key: order.index(key[0]))
        raise ValueError(f"{path}: expected {name} of shape {tuple(expected)}, found {tuple(shape)}")
    return model.eval()


def _tensors(file):
    """Copies: a model on top of the mapped file would change with it."""
    import torch

    try:
        arrays = read_state_dict(file)
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def _special_tokens(tokenizer):
    """Those before and those after the tokens of a text."""
    (plain,), (whole,) = (_token_ids(tokenizer, ["a"], special=special) for special in (False, True))
    start = next(start for start in range(len(whole)) if whole[start : start + len(plain)] == plain)
    return whole[:start], whole[start + len(plain) :]


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


def _check_vocabulary(path, model, tokenizer):
    found, expected = max(tokenizer.get_vocab().values()) + 1, model.get_input_embeddings().num_embeddings
    if found > expected:
        raise ValueError(f"{path}: expected a tokenizer of the model's {expected} tokens, found one of {found}")


def _features(model, pooling, tokens, mask):
    """float32 `[b, d]` of int64 tokens and mask `[b, t]`."""
    import torch

    tokens, mask = torch.from_numpy(tokens), torch.from_numpy(mask)
    with torch.inference_mode():
        hidden = model(input_ids=tokens, attention_mask=mask, return_dict=True).last_hidden_state
        if pooling == "cls":
            return hidden[:, 0].numpy()
        weights = mask[..., None].to(hidden.dtype)
        return ((hidden * weights).sum(1) / weights.sum(1)).numpy()


def _sha256(file):
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextlib.contextmanager
def _refused(message: str) -> Iterator[None]:
    """Makes what `transformers` raises, nearly anything, a `ValueError` of one line."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        reason = textwrap.shorten(str(error), 200, placeholder="...") or type(error).__name__
        raise ValueError(f"{message}: {reason}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps progress, advice and warnings of `transformers` from the terminal; what matters of them is raised."""
    with needed_for("a sentence encoder", "bert"):  # transformers before 5.4 has none
        from transformers.utils.logging import set_tqdm_hook

    logger = logging.getLogger("transformers")
    level, hook = logger.level, set_tqdm_hook(lambda bar, args, settings: bar(*args, **{**settings, "disable": True}))
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        set_tqdm_hook(hook)
