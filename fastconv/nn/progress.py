"""Progress of a training, on standard error: a bar on a terminal, a line for each epoch otherwise."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from time import perf_counter
from typing import Any

REFRESH_SECONDS = 0.1
"""Between two looks of the bar: often enough for the eye, too rare to cost the training anything."""


class Progress:
    """Reports nothing; the base of those that do.

    A context manager: leaving it, by whatever way, leaves the terminal in order.
    """

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        """Put the terminal in order."""

    def start_epoch(self, epoch: int) -> None:
        """Epochs count from 1."""

    def due(self) -> bool:
        """Whether ``step`` would show anything now."""
        return False

    def step(self, images: int, loss: float, correct: int) -> None:
        """After a step: images of this epoch so far, the sum of their losses, and how many were classified right."""

    def end_epoch(self, metrics: Mapping[str, float], seconds: float) -> None:
        """The epoch's metrics, and the time of its training steps."""


class Lines(Progress):
    """A line for each epoch."""

    def __init__(self, images: int, epochs: int) -> None:
        self._images, self._epochs, self._epoch = images, epochs, 0

    def start_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def end_epoch(self, metrics: Mapping[str, float], seconds: float) -> None:
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        rate = self._images / max(seconds, 1e-9)
        self._print(f"epoch {self._epoch}/{self._epochs}  {numbers}  {rate:,.0f} images/s  {seconds:.1f} s")

    def _print(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


class Bar(Lines):
    """Also a bar with loss, accuracy, images/s and the time that is left, of all epochs together."""

    def __init__(self, images: int, epochs: int, accuracy: bool) -> None:
        super().__init__(images, epochs)
        from rich.console import Console  # not imported where there is no terminal
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%  {task.fields[numbers]}")
        # No refresh from a thread of its own: it would take the interpreter from the training at times of its choosing.
        self._bar: Any = RichProgress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)
        self._task = self._bar.add_task("", total=images * epochs, numbers="compiling")
        self._accuracy, self._before, self._began, self._next = accuracy, 0, 0.0, 0.0

    def __enter__(self) -> Progress:
        self._bar.start()
        self._bar.refresh()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def start_epoch(self, epoch: int) -> None:
        super().start_epoch(epoch)
        self._before = (epoch - 1) * self._images
        self._began = perf_counter()
        self._bar.update(self._task, description=f"epoch {epoch}/{self._epochs}")

    def due(self) -> bool:
        return perf_counter() >= self._next

    def step(self, images: int, loss: float, correct: int) -> None:
        if not self.due():
            return
        now = perf_counter()
        self._next = now + REFRESH_SECONDS
        rate = images / max(now - self._began, 1e-9)
        done = self._before + images
        accuracy = f"accuracy {correct / images:.4f}  " if self._accuracy else ""
        left = _clock((self._images * self._epochs - done) / rate)
        numbers = f"loss {loss / images:.4f}  {accuracy}{rate:,.0f} images/s  {left} left"
        self._bar.update(self._task, completed=done, numbers=numbers)
        self._bar.refresh()

    def _print(self, line: str) -> None:
        self._bar.console.print(line, highlight=False, soft_wrap=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def progress_for(verbose: int, images: int, epochs: int, accuracy: bool) -> Progress:
    """0: silent; 1: a bar if standard error is a terminal, else lines; 2: lines."""
    if verbose == 0:
        return Progress()
    if verbose == 1 and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return Bar(images, epochs, accuracy)
    return Lines(images, epochs)
