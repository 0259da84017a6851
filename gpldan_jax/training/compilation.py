"""Says when XLA compiles the program of a training step or epoch, because nothing else happens for seconds then."""

import contextlib
import threading
from collections.abc import Callable, Iterator

import jax
import jax.monitoring

_LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
_COMPILED = "/jax/core/compile/backend_compile_duration"
# A rough estimate: on a CPU, XLA compiles the program of a step about so many times as long as jax lowers it.
_CPU_RATIO = 20
_SHORT = 3.0  # seconds; a user waits so long without asking
_CACHE_SECONDS = 0.7  # in which a program is read from the cache, if it is there


@contextlib.contextmanager
def announce_compilation(say: Callable[[str], None]) -> Iterator[None]:
    """Says a line within the block when XLA begins to compile the program of a training step or epoch.

    A program that is read from the compilation cache, or that takes less than three seconds, is not announced.

    Args:
        say: takes the line, such as "compiling (about 10 s, once)"; it may be called from another thread. The seconds
            are an estimate, on a CPU only.

    Yields:
        Nothing.

    Example:
        >>> with announce_compilation(print):
        ...     print(jax.jit(lambda x: x + 1)(1))  # a small program
        2
    """
    timers: list[threading.Timer] = []

    def listen(event: str, duration_secs: float, **about: str | int) -> None:
        if event == _LOWERED and "train_" in str(about.get("fun_name")):  # `train_epoch` and the like; others are small
            line = _line(duration_secs)
            if line:
                timers.append(threading.Timer(_CACHE_SECONDS, say, [line]))
                timers[-1].daemon = True
                timers[-1].start()
        elif event == _COMPILED:
            while timers:
                timers.pop().cancel()

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
        while timers:
            timers.pop().cancel()


def _line(lowering: float) -> str:
    """What to say of a program that took `lowering` seconds to lower; nothing where it will be quick."""
    seconds = _CPU_RATIO * lowering
    if seconds < _SHORT:
        return ""
    if jax.default_backend() != "cpu":
        return "compiling (once)"
    return f"compiling (about {seconds:.0f} s, once)"
