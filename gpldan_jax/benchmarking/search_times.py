"""Times the exact search of an index on disk, beside the same ranking in NumPy and PyTorch on the same arrays.

Letters: `q` queries; `m` items of a block; `c` nearest; `k` representations of an item, each `h` wide.

A peer takes queries and blocks of items and returns distances `[q, c]`, nearest first, and positions `[q, c]`. Peers
round as float32 does and have no order for ties.
"""

import contextlib
import dataclasses
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpldan_jax._extras import install_command
from gpldan_jax.benchmarking import results, timing
from gpldan_jax.benchmarking.problem import SEARCHES, choose, library_of, part_width, peer_obstacles
from gpldan_jax.data import Standardization
from gpldan_jax.index import Index, storage
from gpldan_jax.index.gallery import EncodedBatch, Segment, encode_representation
from gpldan_jax.index.index import BLOCK
from gpldan_jax.models import Projector, Representation, TrainedModel

_Blocks = Iterable[tuple[int, EncodedBatch]]  # the position of the first item of each block, and its items
_GENERATED = 8192  # items at a time
_PEER_BLOCKS = {"torch-matmul": BLOCK}  # items at a time; of the others, what was fastest of 32, 128 and 512
_PEER_BLOCK = 128
_TWO_STAGES, _CANDIDATES = "jax-candidates", 1000
_CENTRES, _AROUND = 1000, 0.5  # items lie around so many centres, closer than those are to each other
_AGREEMENT = 1e-5  # of distances; float32 rounds them by less
_encode_representation = jax.jit(encode_representation)


def measure(
    schedule: timing.Schedule,
    *,
    width: int,
    representations: int,
    queries: int = 64,
    nearest: int = 10,
    implementations: Sequence[str] | None = None,
    folder: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Times the search; the sizes of the schedule are numbers of items.

    The generated indexes lie in `folder` meanwhile, for `None` in the system's temporary folder.
    """
    k, h = representations, part_width(width, representations)
    if folder and not Path(folder).is_dir():
        raise ValueError(f"folder must be a folder that exists, got {folder}")
    names = _choose(implementations)
    asked = _generate(np.random.default_rng(1), queries, k, h)

    with contextlib.ExitStack() as stack:

        def prepare(n):
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
            index = _write_index(place, n, k, h)
            prepared, found = [], {}
            for name in names:
                row, call, distances = _prepare(name, index, asked, nearest)
                prepared.append((row, call))
                if name != _TWO_STAGES:
                    found[name] = distances
            _check_agreement(found)
            return prepared

        libraries = dict.fromkeys(["jax", *map(library_of, names)])
        rows, ceilings = timing.time_sizes(schedule, prepare, [(library, "highest") for library in libraries])
    rows = [dataclasses.replace(row, pairs_per_s=(row.pairs_per_s or 0) * queries) for row in rows]
    return {
        "benchmark": "search",
        "problem": {"queries": queries, "k": k, "h": h, "nearest": nearest},
        "ceilings": ceilings,
        "rows": [results.with_fractions(row, ceilings, shared=True) for row in rows],
    }


def _choose(wanted):
    obstacles = peer_obstacles(SEARCHES)
    if importlib.util.find_spec("faiss") is None:
        obstacles[_TWO_STAGES] = f"needs faiss: {install_command('ann')}"
    return choose(wanted, SEARCHES, obstacles)


def _numpy_broadcast(queries: EncodedBatch, blocks: _Blocks, c: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the nearest by the formulas in NumPy: both fused instances of every pair, `[q, m, h]`, and their cosine."""
    x, a = _parts(queries), queries.attention
    kept = np.full((len(a), c), np.inf, np.float32), np.zeros((len(a), c), np.int64)
    for first, block in blocks:
        y, b = _parts(block), block.attention
        fused_x = np.matmul(b[None], x)
        fused_y = np.matmul(a[None], y).swapaxes(0, 1)
        squares = np.einsum("ijh,ijh->ij", fused_x, fused_x) * np.einsum("ijh,ijh->ij", fused_y, fused_y)
        distances = 1 - np.einsum("ijh,ijh->ij", fused_x, fused_y) / np.sqrt(squares)
        positions = np.broadcast_to(first + np.arange(len(b)), distances.shape)
        distances = np.concatenate([kept[0], distances], axis=1)
        positions = np.concatenate([kept[1], positions], axis=1)
        nearest = np.argpartition(distances, c - 1, axis=1)[:, :c]
        kept = np.take_along_axis(distances, nearest, axis=1), np.take_along_axis(positions, nearest, axis=1)
    order = np.argsort(kept[0], axis=1)
    return np.take_along_axis(kept[0], order, axis=1), np.take_along_axis(kept[1], order, axis=1)


def _torch_broadcast(queries: EncodedBatch, blocks: _Blocks, c: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the nearest by the formulas in PyTorch, as `_numpy_broadcast` does."""
    import torch

    def distances(block):
        fused_x = torch.matmul(block.attention[None], x)
        fused_y = torch.matmul(a[None], block.values.view(len(block.values), *x.shape[1:])).transpose(0, 1)
        return 1 - torch.nn.functional.cosine_similarity(fused_x, fused_y, dim=-1)

    a, x = map(_tensor, (queries.attention, _parts(queries)))
    return _torch_nearest(distances, blocks, len(a), c)


def _torch_matmul(queries: EncodedBatch, blocks: _Blocks, c: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the nearest by the algebra of the index in PyTorch: one matrix product a block, without rounding bounds."""
    import torch

    def distances(block):
        b = block.attention
        weighted = (expanded @ block.values.T).view(len(a), -1, len(b))
        numerator = (weighted * b.T).sum(1)
        squares = (gram @ pairs(b).T) * (pairs(a) @ block.gram.T)
        return 1 - numerator * torch.rsqrt(squares)

    def pairs(attention):
        return attention[:, rows] * attention[:, columns] * counts

    k = queries.attention.shape[1]
    rows, columns = np.triu_indices(k)
    counts = _tensor(np.where(rows == columns, 1, 2).astype(np.float32))
    a, gram, parts = map(_tensor, (queries.attention, queries.gram, _parts(queries)))
    expanded = (a[:, None, :, None] * parts[:, :, None]).view(len(a) * k, -1)
    return _torch_nearest(distances, blocks, len(a), c)


def _torch_nearest(distances, blocks, q, c):
    import torch

    kept = _tensor(np.full((q, c), np.inf, np.float32)), _tensor(np.zeros((q, c), np.int64))
    with torch.inference_mode():
        for first, block in blocks:
            found = distances(EncodedBatch(*map(_tensor, block)))
            nearest, columns = torch.topk(found, min(c, found.shape[1]), largest=False)
            merged = torch.cat([kept[0], nearest], 1), torch.cat([kept[1], first + columns], 1)
            nearest, columns = torch.topk(merged[0], c, largest=False)
            kept = nearest, torch.gather(merged[1], 1, columns)
    return kept[0].cpu().numpy(), kept[1].cpu().numpy()


def _tensor(array):
    from gpldan_jax.benchmarking import torch_device

    return torch_device.tensor(array)


def _parts(items):
    n, k = items.attention.shape
    return items.values.reshape(n, k, -1)


def _prepare(name, index, queries, nearest):
    """Returns the row, a call that searches once, and the distances that it finds."""
    k, h = queries.attention.shape[1], queries.values.shape[1] // queries.attention.shape[1]
    flops = 2 * len(queries.attention) * len(index) * k * k * h
    row = results.Row(len(index), name, "search", "highest", library_of(name), flops=flops)
    call = _make_call(name, index, queries, nearest)
    distances, ids = call()
    if name == _TWO_STAGES:  # it ranks fewer items, so it has no part of a ceiling
        exact = index.search(queries, nearest).ids
        share = np.mean([np.isin(all_of, ids_of).mean() for all_of, ids_of in zip(exact, ids, strict=True)])
        row = dataclasses.replace(row, flops=None, recall=float(share))
    return row, call, distances


def _make_call(name, index, queries, nearest) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    # It returns distances and ids or positions, which are the same here.
    if name == "jax":
        return lambda: index.search(queries, nearest)
    if name == _TWO_STAGES:
        print(f"n = {len(index)}: clustering for the vector index", file=sys.stderr)
        clustered = index.with_candidates()
        return lambda: clustered.search(queries, nearest, candidates=min(_CANDIDATES, len(index)))
    peers = {"numpy-broadcast": _numpy_broadcast, "torch-broadcast": _torch_broadcast, "torch-matmul": _torch_matmul}
    size = _PEER_BLOCKS.get(name, _PEER_BLOCK)
    return lambda: peers[name](queries, _whole_blocks(index.gallery, size), nearest)


def _whole_blocks(gallery, size) -> Iterator[tuple[int, EncodedBatch]]:
    for segment in gallery.segments:
        for first in range(0, len(segment), size):
            yield first, EncodedBatch(*(array[first : first + size] for array in segment.encoded))


def _write_index(folder, n, k, h):
    """Writes an index of n generated items, whose ids are their positions, with a model that is never used."""
    print(f"n = {n}: writing {n * k * h * 4 / 1e9:.1f} GB to {folder}", file=sys.stderr)
    projector = Projector(hidden=1, width=k * h, parts=k)
    inputs = np.ones((1, 1), np.float32)
    parameters = projector.init(jax.random.key(0), inputs, inputs)["params"]
    one = np.ones(1, np.float32)
    model = TrainedModel(projector, jax.device_get(parameters), Standardization(0 * one, one, 0 * one, one), {})
    random = np.random.default_rng(0)
    blocks = (_generate(random, min(_GENERATED, n - first), k, h) for first in range(0, n, _GENERATED))
    with storage.locked_folder(folder) as opened:
        files = storage.write_items(opened, blocks, n, projector)
        storage.write_index(opened, model, "text", [Segment(np.arange(n), None, {}, files)], None)
    return Index.load(folder, verify=False)


def _generate(random, n, k, h):
    centres = np.random.default_rng(2).standard_normal((_CENTRES, k, h), dtype=np.float32)
    parts = centres[random.integers(0, _CENTRES, n)]
    parts += np.float32(_AROUND) * random.standard_normal((n, k, h), dtype=np.float32)
    attention = np.exp(random.standard_normal((n, k), dtype=np.float32))
    attention /= attention.sum(1, keepdims=True)
    encoded = _encode_representation(Representation(parts.reshape(n, -1), parts, attention))
    return EncodedBatch(*map(np.asarray, encoded))


def _check_agreement(found):
    names = list(found)
    for name in names[1:]:
        if not np.allclose(found[names[0]], found[name], rtol=0, atol=_AGREEMENT):
            most = np.abs(found[names[0]] - found[name]).max()
            raise results.Disagreement(f"{names[0]} and {name} find distances that differ by {most:.2g}")
