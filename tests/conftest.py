"""Shared by all tests."""

import os

import jax
import pytest

try:  # jax's public options reach programs that a test compiles itself, not those that jit compiles
    from jax._src.compiler import get_compile_options
except ImportError:
    get_compile_options = None

jax.config.update("jax_num_cpu_devices", 8)  # virtual, for what runs over devices; before anything starts a backend


@pytest.fixture(scope="session")
def quick_options():
    """Options with which XLA compiles for a CPU in a third of the time; none where it does not know them."""
    if get_compile_options is None:
        return {}
    options = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options=options)
    except jax.errors.JaxRuntimeError:
        return {}
    return options


@pytest.fixture(scope="session")
def quick_environment(quick_options):
    """Variables with which a command compiles in a quarter of the time; see `quick_compilation`."""
    flags = [
        os.environ.get("XLA_FLAGS", ""),
        *(f"--{name}={str(value).lower()}" for name, value in quick_options.items()),
    ]
    return {"JAX_DISABLE_MOST_OPTIMIZATIONS": "True", "XLA_FLAGS": " ".join(flags).strip()}


@pytest.fixture
def quick_compilation(quick_options, monkeypatch):
    """Compiles with XLA's optimisations off, in a quarter of the time, for tests of values and not of the compiler."""

    def quick(*args, **kwargs):
        found = get_compile_options(*args, **kwargs)
        found.env_option_overrides = [*found.env_option_overrides, *quick_options.items()]
        return found

    if quick_options:
        monkeypatch.setattr("jax._src.compiler.get_compile_options", quick)
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
