"""Quick compilation: for all tests and examples but those marked `optimized`."""

import signal

import jax
import pytest

try:  # jax's public options reach programs that a test compiles itself, not those that jit compiles
    from jax._src import compiler

    get_compile_options = compiler.get_compile_options
except (ImportError, AttributeError):
    get_compile_options = None

QUICK = "jax_disable_most_optimizations"
SLOW_EXAMPLES = ("GPLDAN", "Index", "Projector", "stack_states", "train", "train_epoch")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks the examples in docstrings that take longer than a second."""
    for item in items:
        if isinstance(item, pytest.DoctestItem) and item.name.rpartition(".")[2] in SLOW_EXAMPLES:
            item.add_marker("slow")


@pytest.fixture(scope="session", autouse=True)
def ctrl_c():
    """Where a shell has started the tests in the background, they ignore SIGINT; some are about it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
        if jax.config.values[QUICK]:
            found.env_option_overrides = [*found.env_option_overrides, *quick_options.items()]
        return found

    if quick_options:
        compiler.get_compile_options = options
    jax.config.update(QUICK, True)


@pytest.fixture(autouse=True)
def compilation(request):
    """Compiles the programs of a test quickly, and those of a test marked `optimized` as users do."""
    is_quick = request.node.get_closest_marker("optimized") is None
    if is_quick != jax.config.values[QUICK]:
        jax.clear_caches()  # a program stays as it was compiled, and the two kinds differ in their last bits
        jax.config.update(QUICK, is_quick)
