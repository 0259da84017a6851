"""The loss over a mesh of virtual CPU devices against the dense form on one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gpldan_jax
from tests.losses.test_graph_pattern import FLOAT32_TOLERANCE, batch


def mesh_of(devices, axis_type=AxisType.Auto):
    if jax.device_count() < devices:
        pytest.skip(f"needs {devices} devices, there are {jax.device_count()}")
    return jax.make_mesh((devices,), ("data",), axis_types=(axis_type,), devices=jax.devices()[:devices])


def difficult_batch(n):
    """Duplicates, zero rows and a masked pair that holds NaN, on different devices."""
    arguments = batch(0, n=n, k=3, h=16, dtype=np.float32)
    where = np.ones(n, bool)
    where[n // 2] = False
    for x in arguments:
        x[n - 1] = x[0]
        x[n // 2] = np.nan
    for x in (*arguments[:2], *arguments[4:]):
        x[1] = 0
    return arguments, where


def value_and_gradients(loss, arguments, where, **options):
    def objective(features, inputs, where):
        return loss(*features, *inputs, where=where, alpha=0.7, beta=0.3, **options)

    return jax.jit(jax.value_and_grad(objective, has_aux=True))(arguments[:4], arguments[4:], where)


@pytest.mark.slow
@pytest.mark.parametrize(
    "devices, block_size, discrepancy",
    [(1, 5, "absolute"), (2, 5, "squared"), (3, 4, "absolute"), (4, 4, "signed"), (8, None, "absolute")],
)
def test_agrees_with_one_device(devices, block_size, discrepancy):
    arguments, where = difficult_batch(24)
    expected = value_and_gradients(
        gpldan_jax.graph_pattern_loss, arguments, where, implementation="dense", discrepancy=discrepancy
    )
    mesh = mesh_of(devices)
    rows = NamedSharding(mesh, PartitionSpec("data"))
    result = value_and_gradients(
        functools.partial(gpldan_jax.sharded_graph_pattern_loss, mesh=mesh, axis="data"),
        jax.device_put(arguments, rows),
        jax.device_put(where, rows),
        block_size=block_size,
        discrepancy=discrepancy,
    )
    for one, other in zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=FLOAT32_TOLERANCE, atol=FLOAT32_TOLERANCE)
    for gradient in result[1]:
        assert gradient.sharding.is_equivalent_to(rows, gradient.ndim)


@pytest.mark.slow
def test_explicit_meshes_and_several_axes():
    if jax.device_count() < 8:
        pytest.skip(f"needs 8 devices, there are {jax.device_count()}")
    arguments = batch(1, n=8, k=2, h=8, dtype=np.float32)
    expected, _ = gpldan_jax.graph_pattern_loss(*arguments, alpha=1.0, beta=1.0)
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Explicit,) * 2)
    with jax.set_mesh(mesh):
        for axis in ("data", ("data", "model")):
            result, _ = gpldan_jax.sharded_graph_pattern_loss(*arguments, mesh=mesh, axis=axis, alpha=1.0, beta=1.0)
            np.testing.assert_allclose(result, expected, rtol=FLOAT32_TOLERANCE)


@pytest.mark.slow
@pytest.mark.optimized
def test_shares_travel_around_the_ring_and_nothing_is_gathered():
    mesh = mesh_of(4)
    n, k, h, d = 4096, 2, 64, 64
    rows = NamedSharding(mesh, PartitionSpec("data"))
    shapes = ((n, k, h), (n, k, h), (n, k), (n, k), (n, d), (n, d))
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=rows) for shape in shapes]
    options = {"mesh": mesh, "axis": "data", "alpha": 1.0, "beta": 0.1, "block_size": 64}
    gradient = jax.grad(lambda *x: gpldan_jax.sharded_graph_pattern_loss(*x, **options)[0], argnums=(0, 1, 2, 3))
    compiled = jax.jit(gradient).lower(*arguments).compile()
    assert "collective-permute" in compiled.as_text()
    assert "all-gather" not in compiled.as_text()
    # Per device: a visitor and both gradients, each the size of its own share, and tiles; a matrix of all distances
    # between two shares alone would be 4 MB.
    share = sum(np.prod(shape) for shape in shapes) * 4 // 4
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * share + 2e6


@pytest.mark.slow
def test_a_training_step_over_devices_is_the_step_on_one():
    mesh = mesh_of(4)
    rng = np.random.default_rng(2)
    u, c = rng.normal(size=(2, 16, 12)).astype(np.float32)
    weights = {"image": rng.normal(size=(12, 8)), "text": rng.normal(size=(12, 8))}
    weights = jax.tree.map(lambda x: x.astype(np.float32), weights)
    optimizer = optax.sgd(0.1)

    @functools.partial(jax.jit, static_argnames="loss")
    def step(weights, state, u, c, loss):
        def objective(weights):
            return loss(u @ weights["image"], c @ weights["text"], None, None, u, c, alpha=1.0, beta=0.5)[0]

        updates, state = optimizer.update(jax.grad(objective)(weights), state)
        return optax.apply_updates(weights, updates), state

    def trained(loss, u, c):
        result, state = weights, optimizer.init(weights)
        for _ in range(2):
            result, state = step(result, state, u, c, loss)
        return result

    expected = trained(gpldan_jax.graph_pattern_loss, u, c)
    over_devices = functools.partial(gpldan_jax.sharded_graph_pattern_loss, mesh=mesh, axis="data")
    result = trained(over_devices, *jax.device_put((u, c), NamedSharding(mesh, PartitionSpec("data"))))
    for name, weight in result.items():
        np.testing.assert_allclose(weight, expected[name], atol=FLOAT32_TOLERANCE)


@pytest.mark.parametrize(
    "axis, n, message",
    [
        ("rows", 4, "axis must name axes of the mesh, data, got 'rows'"),
        ((), 4, r"axis must name axes of the mesh, data, got \(\)"),
        ("data", 5, "5 pairs do not divide among 2 devices; pad them"),
    ],
)
def test_what_does_not_fit_the_mesh_is_named(axis, n, message):
    arguments = batch(3, n=n, k=2, h=4, dtype=np.float32)
    with pytest.raises(ValueError, match=message):
        gpldan_jax.sharded_graph_pattern_loss(*arguments, mesh=mesh_of(2), axis=axis, alpha=1.0, beta=1.0)


@pytest.mark.slow
def test_strict_promotion_gives_the_same():
    mesh, (arguments, where) = mesh_of(2), difficult_batch(6)
    loss = functools.partial(gpldan_jax.sharded_graph_pattern_loss, mesh=mesh, axis="data")
    expected = value_and_gradients(loss, arguments, where)
    with jax.numpy_dtype_promotion("strict"):
        found = value_and_gradients(loss, arguments, where)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
