"""Shared by all tests."""

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)  # virtual, for what runs over devices; before anything starts a backend


@pytest.fixture
def quick_compilation():
    """Compiles with XLA's optimisations off, in half the time, for tests of values and not of the compiler."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
