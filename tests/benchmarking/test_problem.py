"""What a benchmark measures: the least work, and which implementations are run."""

import subprocess
import sys

import numpy as np
import pytest

from gpldan_jax.benchmarking import problem


def test_minimum_flops_of_the_value_alone():
    assert problem.minimum_flops(problem.Problem(3, 4, 256, 4096, 1024), "forward") == 9 * (16384 + 2 * 5120)


def test_arrays_are_a_function_of_the_sizes():
    sizes = problem.Problem(n=5, k=3, h=2, image_inputs=4, text_inputs=6)
    first, again = problem.arrays(sizes), problem.arrays(sizes)
    for one, other in zip(first, again, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other)
    for attention in first[2:4]:
        np.testing.assert_allclose(attention.sum(1), 1, rtol=1e-6)


def test_the_library_is_part_of_a_name():
    names = (*problem.IMPLEMENTATIONS, *problem.TRAINERS, *problem.SEARCHES, *problem.ENCODERS)
    assert {name for name in names if problem.library_of(name) == "numpy"} == {"numpy-broadcast"}
    torch = {"torch", "torch-broadcast", "torch-matmul", "torch-channels-last", "torch-compiled"}
    assert {name for name in names if problem.library_of(name) == "torch"} == torch


def test_what_cannot_run_is_left_out_or_named():
    names, obstacles = ("dense", "sharded", "vmap"), {"sharded": "needs more devices"}
    assert problem.choose(None, names, obstacles) == ["dense", "vmap"]
    assert problem.choose(["vmap", "dense", "vmap"], names, obstacles) == ["vmap", "dense"]
    with pytest.raises(ValueError, match=r"^sharded needs more devices$"):
        problem.choose(["dense", "sharded"], names, obstacles)


def test_representations_divide_the_width():
    assert problem.part_width(1024, 4) == 256
    with pytest.raises(ValueError, match="representations must divide width, got 4 and 10"):
        problem.part_width(10, 4)


def test_names_can_be_imported_without_jax_or_torch():
    code = (
        "import sys\nfrom gpldan_jax.benchmarking import problem, results\n"
        "print(*(name for name in ('jax', 'torch', 'rich', 'matplotlib') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
