"""What all commands print to: plain text, and progress bars on a terminal."""

import rich.console
import rich.progress


def make_console(*, quiet: bool = False) -> rich.console.Console:
    """Returns the console that all commands print to: plain text, no wrapping."""
    return rich.console.Console(highlight=False, markup=False, emoji=False, soft_wrap=True, quiet=quiet)


def progress_bar(console: rich.console.Console, title: str) -> rich.progress.Progress:
    """Returns a progress bar, which shows on a terminal only."""
    return rich.progress.Progress(
        rich.progress.TextColumn(title),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
