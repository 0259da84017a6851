"""What the readers share: the syntax of keys, the budget, sparse matrices, and the words of messages."""

import numpy as np
import pytest

from gpldan_jax.data import DataError
from gpldan_jax.data.files.checks import Budget, dense_from_columns, did_you_mean, first_few, name_rows, parse_key


@pytest.mark.parametrize(
    ("key", "steps"),
    [("a", ("a",)), ("a.b.c", ("a", "b", "c")), ("X{12}", ("X", 12)), ("a{1}.b{2}", ("a", 1, "b", 2))],
)
def test_keys(key, steps):
    assert parse_key(key) == steps


@pytest.mark.parametrize("key", ["", ".a", "{1}", "a.", "a{", "a{b}", "a{1", "a}b", "a{1234567890}"])
def test_other_keys_are_refused(key):
    with pytest.raises(DataError, match="expected a name like I_tr"):
        parse_key(key)


def test_a_budget_counts_down():
    budget = Budget(10)
    budget.charge(6, "a.npz[a]")
    budget.charge(4, "a.npz[b]")
    with pytest.raises(DataError, match=r"a.npz\[c\]: expands to 1 bytes, .* limit of 10 bytes"):
        budget.charge(1, "a.npz[c]")


@pytest.mark.parametrize(
    ("ir", "jc", "expected"),
    [
        ([0, 1], [0, 2, 1], "its columns do not start in order"),
        ([0, 1], [1, 1, 2], "its columns do not start in order"),
        ([0, 1], [0, 1, 3], "its columns do not start in order"),
        ([0, 1], [], "its columns do not start in order"),
        ([0, 2], [0, 1, 2], "expected rows below 2"),
        ([0, -1], [0, 1, 2], "expected rows below 2"),
    ],
)
def test_damaged_sparse_matrices(ir, jc, expected):
    with pytest.raises(DataError, match=expected):
        dense_from_columns(np.ones(2), np.array(ir), np.array(jc), rows=2, budget=Budget(1000), where="a.mat[S]")


def test_words():
    assert first_few([], limit=3) == ""
    assert first_few(range(3), limit=3) == "0, 1, 2"
    assert name_rows(np.array([False, False, True])) == "row 2 (counted from 0)"
    assert did_you_mean("zzz", ["image"]) == ""
