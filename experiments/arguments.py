"""What the commands with subcommands share: a parser whose errors are one line, and types of its flags."""

import argparse


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
