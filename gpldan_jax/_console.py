"""What all commands print to: plain text, and progress bars on a terminal or in a notebook."""

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator

import rich.console
import rich.progress


def make_console(*, quiet: bool = False) -> rich.console.Console:
    """Returns the console that all commands print to: plain text, no wrapping."""
    return rich.console.Console(highlight=False, markup=False, emoji=False, soft_wrap=True, quiet=quiet)


def shows_bars(console: rich.console.Console) -> bool:
    """Whether a progress bar can be drawn: on a terminal, and in a notebook that has ipywidgets."""
    # FORCE_COLOR, which Jupyter sets for its commands, makes rich take a pipe for a terminal.
    is_terminal = console.is_terminal and ("FORCE_COLOR" not in os.environ or console.file.isatty())
    return is_terminal or (console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None)


class _Progress(rich.progress.Progress):
    def stop(self):
        if not self.disable:  # rich 14.0 and older print an empty line at the end of a bar that is not drawn
            super().stop()


def progress_bar(console: rich.console.Console, title: str) -> rich.progress.Progress:
    """Returns a progress bar, which is drawn where `shows_bars` says so; a task's description stands after it."""
    return _Progress(
        rich.progress.TextColumn(title),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
        rich.progress.TextColumn("{task.description}"),
        console=console,
        transient=True,
        disable=not shows_bars(console),
    )


@contextlib.contextmanager
def progress(console: rich.console.Console, kind: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields a function of how many items are done. It moves a bar on a terminal, and prints ten lines elsewhere."""
    with progress_bar(console, kind) as bar:
        task, printed = bar.add_task("", total=total), 0

        def advance(done):
            nonlocal printed
            bar.update(task, completed=done)
            if bar.disable and 10 * done // total > printed:
                printed = 10 * done // total
                console.print(f"{kind}: {done:,} of {total:,}")

        yield advance
