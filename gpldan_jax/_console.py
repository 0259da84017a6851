"""What all commands print to: plain text, and progress bars on a terminal."""

import contextlib
from collections.abc import Callable, Iterator

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


@contextlib.contextmanager
def progress(console: rich.console.Console, kind: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields a function of how many items are done. It moves a bar on a terminal, and prints ten lines elsewhere."""
    with progress_bar(console, kind) as bar:
        task, printed = bar.add_task(kind, total=total), 0

        def advance(done):
            nonlocal printed
            bar.update(task, completed=done)
            if not console.is_terminal and 10 * done // total > printed:
                printed = 10 * done // total
                console.print(f"{kind}: {done:,} of {total:,}")

        yield advance
