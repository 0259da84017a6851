"""The containers in which users have arrays; those of PyTorch and pandas also as small classes like them."""

import jax.numpy as jnp
import numpy as np
import pytest


class NAType:
    """A missing value that behaves as `pandas.NA`: no comparison with it is true or false."""

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    def __eq__(self, other):
        return self

    __hash__ = object.__hash__


NA = NAType()


class Column:
    """A Series of objects with labels for rows: `column[0]` is the row that is called 0, not the first."""

    def __init__(self, values):
        self.values = np.empty(len(values), object)
        self.values[:] = [value.item() if isinstance(value, np.generic) else value for value in values]

    def __len__(self):
        return len(self.values)

    def __getitem__(self, row):
        raise KeyError(row)

    def __array__(self, dtype=None, copy=None):
        return self.values.astype(dtype or object)


class Frame:
    """A DataFrame with named columns."""

    def __init__(self, values, columns):
        self.values, self.columns = np.asarray(values), columns

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        return self.values.astype(dtype or self.values.dtype)


class Tensor:
    """A tensor that needs gradients and is on another device: NumPy must not read it as it is."""

    def __init__(self, values, ready=False):
        self.values, self.ready, self.dtype = np.asarray(values), ready, "float32"

    def detach(self):
        return self

    def cpu(self):
        return Tensor(self.values, True)

    def __array__(self, dtype=None, copy=None):
        if not self.ready:
            raise TypeError("can't convert a tensor of another device to numpy; use Tensor.cpu() first")
        return self.values


def torch_tensor(values):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    tensor = torch.tensor(np.asarray(values))
    return tensor.requires_grad_() if tensor.is_floating_point() else tensor


def series(values):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    return pandas.Series(list(values), index=range(len(values), 0, -1))


def nullable(values):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    return pandas.Series(list(values)).convert_dtypes()


def category(values):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    return pandas.Series(list(values), dtype="category")


VECTORS = {
    "list": lambda values: np.asarray(values).tolist(),
    "tuple": lambda values: tuple(np.asarray(values).tolist()),
    "column": Column,
    "series": series,
    "nullable": nullable,
    "category": category,
}
"""Containers for a vector of numbers or text."""
NUMBERS = {"jax": jnp.asarray, "tensor": Tensor, "torch": torch_tensor}
"""Containers for numbers of any shape."""
