"""What is said where an optional library is missing."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def needed_for(purpose: str, extra: str = "features") -> Iterator[None]:
    """Makes a failed import inside it an `ImportError` of one line that says what needs it and how to install it."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{purpose}: {error}: pip install 'gpldan_jax[{extra}]'", name=error.name) from None
