"""What commands share: a parser whose errors are one line, types of its flags, and how an interruption ends."""

import argparse
import sys
import threading


class Parser(argparse.ArgumentParser):
    """Raises `ValueError` where argparse would print the usage and exit; no abbreviations."""

    def __init__(self, **options):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message):
        raise ValueError(message)


def positive(text: str) -> int:
    """A whole number of at least 1, for `type=`."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def stopped(message: str) -> int:
    """Says that a command was interrupted, and returns the exit status."""
    for thread in threading.enumerate():
        # jax's, which warns of a device that takes a minute to start: interrupted then, Python would wait for it.
        if isinstance(thread, threading.Timer):
            thread.cancel()
    print(message, file=sys.stderr)
    return 130
