"""Windows of tokens: what holds for any text."""

import hypothesis
import hypothesis.strategies as st
import numpy as np

from gpldan_jax.features.sentence_encoder import batches, cut, padded

generated = hypothesis.settings(deadline=None, derandomize=True)
texts = st.lists(st.integers(1, 9), max_size=60)


@generated
@hypothesis.given(texts, st.integers(1, 12))
def test_windows_are_few_and_of_like_length_and_lose_nothing(tokens, room):
    windows = cut(tokens, room)
    lengths = [len(window) for window in windows]
    assert [token for window in windows for token in window] == tokens
    assert len(windows) == max(1, -(-len(tokens) // room))
    assert max(lengths) <= room and max(lengths) - min(lengths) <= 1
    assert min(lengths) > 0 or windows == [[]] == [tokens]


def test_no_window_has_only_what_was_left_over():
    assert [len(window) for window in cut(range(511), 510)] == [255, 256]
    assert cut([1, 2, 3], 3) == [[1, 2, 3]]


@generated
@hypothesis.given(st.lists(texts, max_size=20), st.integers(1, 6))
def test_batches_have_each_window_once_the_longest_first(windows, size):
    found = batches(windows, size)
    order = [row for rows in found for row in rows.tolist()]
    assert sorted(order) == list(range(len(windows)))
    lengths = [len(windows[row]) for row in order]
    assert lengths == sorted(lengths, reverse=True)
    assert all(len(rows) == size for rows in found[:-1]) and all(0 < len(rows) <= size for rows in found)


@generated
@hypothesis.given(st.lists(texts, min_size=1, max_size=6), st.integers(0, 9))
def test_padding_is_masked_and_nothing_else_is(windows, padding):
    tokens, mask = padded(windows, padding)
    assert tokens.dtype == mask.dtype == np.int64
    assert tokens.shape == mask.shape == (len(windows), max(len(window) for window in windows))
    for row, masked, window in zip(tokens, mask, windows, strict=True):
        assert row.tolist() == window + [padding] * (len(row) - len(window))
        assert masked.tolist() == [1] * len(window) + [0] * (len(row) - len(window))
