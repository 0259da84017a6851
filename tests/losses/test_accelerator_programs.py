"""The losses as they are compiled for GPUs and TPUs, run on CPUs: other products, no halves of tiles, rings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gpldan_jax
from gpldan_jax.losses import _products, _ring, _sweep, _tiles, distances
from tests.losses.test_graph_pattern import batch
from tests.losses.test_graph_pattern_sharded import mesh_of
from tests.losses.test_graph_pattern_tiles import large_value_and_gradients
from tests.losses.test_soft_contrastive import problem, value_and_gradients


@pytest.fixture
def tpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    monkeypatch.setattr(_products, "_WIDTH", 3)  # inputs of several parts and a rest


def assert_agree(one, other):
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12)


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


@pytest.mark.slow
@pytest.mark.parametrize("block_size", [4, 32])
@pytest.mark.parametrize("device", ["gpu", "tpu"])
def test_graph_pattern(request, device, block_size):
    request.getfixturevalue(device)
    arguments = batch(0, n=10, k=3, h=8)
    assert arguments[4].shape[1] > 6  # two parts and a rest
    where = np.arange(10) != 3

    def terms(features, **options):
        result = gpldan_jax.graph_pattern_loss(*features, *arguments[4:], alpha=2.0, beta=0.7, where=where, **options)
        return result[0], result

    with jax.enable_x64(True):
        expected = jax.grad(terms, has_aux=True)(arguments[:4], implementation="dense")
        result = jax.grad(terms, has_aux=True)(arguments[:4], block_size=block_size)
        text = jax.jit(jax.grad(lambda x: terms(x, block_size=block_size)[0])).lower(arguments[:4]).as_text()
    assert_agree(result, expected)
    if device == "tpu":  # loops over the inputs' widths, and in both directions over representations
        assert text.count("stablehlo.while") >= 3
    else:  # rows and columns of the tile with all 3 x 3 x 8
        assert f"{20 if block_size == 32 else 8}x72xf64" in text


@pytest.mark.slow
@pytest.mark.optimized
def test_bfloat16_of_a_gpu_is_as_precise_as_documented(gpu):
    expected, expected_grads = large_value_and_gradients(jnp.float64, implementation="dense")
    # A block size of its own, or jax would take the program of another test.
    value, grads = large_value_and_gradients.__wrapped__(jnp.float32, compute_dtype="bfloat16", block_size=254)
    with jax.enable_x64(True):
        assert abs(value - expected) < 1e-5 * expected
        for grad, expected_grad in zip(grads, expected_grads, strict=True):
            assert 1e-4 < jnp.linalg.norm(grad - expected_grad) / jnp.linalg.norm(expected_grad) < 2e-2


@pytest.mark.parametrize("n, size", [(1000, 1000), (1100, 550), (2048, 1024), (4096, 2048), (9000, 1800)])
def test_a_gpu_has_two_blocks_where_they_keep_it_busy(n, size):
    plan = _sweep.SweepPlan(2048, None, distances.MatmulConfig(layout="expanded"))
    blocks, same = plan.tilings(n)
    assert blocks == same and blocks.size == size and blocks.count * blocks.size >= n


@pytest.mark.slow
@pytest.mark.parametrize("block_size", [4, 32])
@pytest.mark.parametrize("device", ["gpu", "tpu"])
def test_soft_contrastive(request, device, block_size):
    request.getfixturevalue(device)
    features, options, _ = problem(4, scale=7.0, rows=True, within=0.5)
    with jax.enable_x64(True):
        expected = value_and_gradients(features, **options, implementation="dense")
        assert_agree(value_and_gradients(features, **options, block_size=block_size), expected)


def pieces(x, number):
    """x as a sum of numbers that bfloat16 holds."""
    found, rest = [], x
    for _ in range(number):
        found.append(jax.lax.reduce_precision(rest, 8, 7))
        rest = rest - found[-1]
    return found


def emulated(x, y, contract, config=distances.EXACT_MATMUL):
    """A product as the units of a TPU compute it: one, three or six products of bfloat16 pieces, added in float32."""
    number = {"default": 1, "high": 2, "highest": 3}[config.precision]
    total = 0.0
    for i, first in enumerate(pieces(x, number)):
        for second in pieces(y, number)[: number - i]:
            total += distances.matmul(first, second, contract)
    return total


# Of the loss, relative, and of the gradients, relative in L2: about twice what the docstring of the loss says.
@pytest.mark.slow
@pytest.mark.optimized
@pytest.mark.parametrize(
    "precision, loss_error, gradient_error", [("default", 1e-5, 2e-2), ("high", 4e-7, 3e-4), ("highest", 4e-7, 1e-6)]
)
def test_precisions_of_a_tpu_are_as_documented(monkeypatch, tpu, precision, loss_error, gradient_error):
    expected, expected_grads = large_value_and_gradients(jnp.float64, implementation="dense")
    for module in (_products, _tiles):
        monkeypatch.setattr(module, "matmul", emulated)
    monkeypatch.setattr(_products, "_WIDTH", 256)
    with jax.enable_x64(True):
        # A block size of its own, or jax would take the program of another test.
        value, grads = large_value_and_gradients.__wrapped__(jnp.float32, precision=precision, block_size=255)
        print(f"loss {abs(value - expected) / expected:.1e}")  # pytest -rP shows what is measured
        assert abs(value - expected) < loss_error * expected
        for grad, expected_grad in zip(grads, expected_grads, strict=True):
            error = jnp.linalg.norm(grad - expected_grad) / jnp.linalg.norm(expected_grad)
            print(f"gradient {error:.1e}")
            assert error < gradient_error
            if precision != "highest":  # the emulation has an effect
                assert error > 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1)])
def test_any_ring_gives_the_same(monkeypatch, order):
    mesh = mesh_of(4)
    monkeypatch.setattr(_sweep, "ring_order", lambda mesh, axes: order)
    arguments = batch(0, n=16, k=2, h=8)
    block_size = 2 + order[1]  # another program for each order

    def loss(features, of, **options):
        return of(*features, *arguments[4:], alpha=0.7, beta=0.3, **options)[0]

    with jax.enable_x64(True):
        expected = jax.value_and_grad(loss)(arguments[:4], gpldan_jax.graph_pattern_loss, implementation="dense")
        options = {"mesh": mesh, "axis": "data", "block_size": block_size}
        result = jax.value_and_grad(loss)(arguments[:4], gpldan_jax.sharded_graph_pattern_loss, **options)
    assert_agree(result, expected)


@pytest.mark.parametrize("sides", [(2, 2), (4, 4), (3, 4), (4, 3), (16, 16)])
def test_a_ring_visits_each_place_once_and_only_neighbours_in_turn(sides):
    places = [(x, y, 0) for y in range(sides[1]) for x in range(sides[0])]
    ring = _ring.neighbour_ring(places)
    assert sorted(ring) == list(range(len(places)))
    for one, other in zip(ring, ring[1:] + ring[:1], strict=True):
        assert sum(abs(a - b) for a, b in zip(places[one], places[other], strict=True)) == 1


@pytest.mark.parametrize(
    "places",
    [
        [(0, 0), (1, 0), (2, 0)],  # a line
        [(x, y) for x in range(3) for y in range(3)],  # an odd number has no such ring
        [(0, 0), (1, 0), (0, 1), (2, 2)],  # holes
        [(0, 0), (0, 0)],
        [(), ()],
    ],
)
def test_no_ring_of_neighbours(places):
    assert _ring.neighbour_ring(places) is None


def test_devices_without_coordinates_keep_their_order():
    assert _ring.ring_order(mesh_of(4), ("data",)) == (0, 1, 2, 3)
