"""Reads what comes next in a thread, while the caller works on what was read before."""

import collections
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(read: Callable[[Item], Result], items: Iterable[Item], *, ahead: int = 2) -> Generator[Result]:
    """Yields what `read` returns for each item, in order; the next ones are read meanwhile, in one thread.

    Args:
        read: takes an item; it is called in the thread, for one item after the other.
        items: what to read.
        ahead: how many results may wait for the caller, at least 1.

    Yields:
        The results. An error of `read` is raised where its result would come. The thread ends when the caller has had
        all of them, or closes the iterator.

    Example:
        >>> list(read_ahead(lambda item: item**2, range(4)))
        [0, 1, 4, 9]
    """
    waiting: collections.deque[Future[Result]] = collections.deque()
    with ThreadPoolExecutor(1, thread_name_prefix="read_ahead") as thread:
        try:
            for item in items:
                waiting.append(thread.submit(read, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
