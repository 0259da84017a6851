"""Quick compilation: for all tests and examples but those marked `optimized`."""

import jax
import jax._src.compiler
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


@pytest.fixture(scope="session", autouse=True)
def quick_compilation(quick_options):
    """Compiles with XLA's optimisations off, in a quarter of the time, while jax is told to disable most of them."""

    def options(*args, **kwargs):
        found = get_compile_options(*args, **kwargs)
        if jax.config.jax_disable_most_optimizations:
            found.env_option_overrides = [*found.env_option_overrides, *quick_options.items()]
        return found

    if quick_options:
        jax._src.compiler.get_compile_options = options
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(autouse=True)
def compilation(request):
    """Compiles the programs of a test quickly, and those of a test marked `optimized` as users do."""
    is_quick = request.node.get_closest_marker("optimized") is None
    if is_quick != jax.config.jax_disable_most_optimizations:
        jax.clear_caches()  # a program stays as it was compiled, and the two kinds differ in their last bits
        jax.config.update("jax_disable_most_optimizations", is_quick)
