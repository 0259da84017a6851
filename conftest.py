"""Quick compilation: for the tests that ask for it, and for the examples in docstrings."""

import jax
import pytest

try:  # jax's public options reach programs that a test compiles itself, not those that jit compiles
    from jax._src.compiler import get_compile_options
except ImportError:
    get_compile_options = None


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


@pytest.fixture(autouse=True)
def quick_examples(request):
    """Compiles the examples in docstrings quickly."""
    if isinstance(request.node, pytest.DoctestItem):
        request.getfixturevalue("quick_compilation")
