"""One thread that computes, so that the event loop always answers, and the line before it."""

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import Any


class BusyError(Exception):
    """The line is too long, or was too slow."""


class Worker:
    """Calls functions in a thread of its own, one at a time, in the order in which they came.

    Args:
        waiting: calls in line, beyond which others are turned away.
        seconds: until a call in line is given up.
    """

    def __init__(self, waiting: int, seconds: float):
        self._limit, self._seconds = waiting, seconds
        self._waiting, self._turn = 0, asyncio.Lock()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "search")

    async def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """What the function returns; `BusyError` where its turn does not come."""
        if self._waiting >= self._limit:
            raise BusyError
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._turn.acquire()
        except TimeoutError:
            raise BusyError from None
        finally:
            self._waiting -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)
        finally:
            self._turn.release()
