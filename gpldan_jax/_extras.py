"""What is said where another library is missing or fails."""

import contextlib
import textwrap
from collections.abc import Iterator

_WITH_TORCH = ("bert", "open_clip", "peers", "timm", "torch", "transformers")
_CPU_TORCH = "pip install torch --index-url https://download.pytorch.org/whl/cpu"


def install_command(extra: str) -> str:
    """Returns how to install an extra of this package; with PyTorch, how to get it without gigabytes for a GPU first.

    Example:
        >>> install_command("plots")
        "pip install 'gpldan_jax[plots]'"
    """
    command = f"pip install 'gpldan_jax[{extra}]'"
    return f"{command} (without a GPU, first: {_CPU_TORCH})" if extra in _WITH_TORCH else command


@contextlib.contextmanager
def needed_for(purpose: str, extra: str = "features", *, otherwise: str = "") -> Iterator[None]:
    """Makes a failed import an `ImportError` of one line that says what needs the library and how to install it.

    Args:
        purpose: what needs the library.
        extra: the extra of this package that installs it.
        otherwise: what else helps, the end of the line.

    Yields:
        Nothing; the imports are done inside.

    Raises:
        ImportError: an import inside failed.
    """
    try:
        yield
    except ImportError as error:
        message = f"{purpose}: {error}: {install_command(extra)}{otherwise}"
        raise ImportError(message, name=error.name) from None


@contextlib.contextmanager
def failing_as(message: str) -> Iterator[None]:
    """Makes any error of a library a `ValueError` of one line.

    Yields:
        Nothing; the library is called inside.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{message}: {short_reason(error)}") from error


def short_reason(error: BaseException) -> str:
    """Returns the message of an error on one line of at most 200 characters, or its type if it has none.

    Example:
        >>> short_reason(ValueError("two   words")), short_reason(EOFError())
        ('two words', 'EOFError')
    """
    return textwrap.shorten(str(error), 200, placeholder="...") or type(error).__name__
