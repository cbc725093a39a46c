"""What a training has been: one number for each metric and epoch, and the time it took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class History:
    """What ``fit`` returns.

    Attributes
    ----------
    history : {metric: [a number for each finished epoch]}
        "loss", "accuracy", and with validation "val_loss", "val_accuracy"; ``history[metric]`` is the same.
    epoch_seconds : list of float
        Of the training steps of each epoch, without validation.
    compile_seconds : float
        Planning and compiling before the first step.
    images : int
        Trained on, in all epochs together.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch_seconds: list[float] = []
        self.compile_seconds = 0.0
        self.images = 0

    def __getitem__(self, metric: str) -> list[float]:
        return self.history[metric]

    def __repr__(self) -> str:
        last = "".join(f", {name} {values[-1]:.4f}" for name, values in self.history.items())
        return f"History({self.epochs} epochs{last}, {self.images_per_second:,.0f} images/s)"

    @property
    def epochs(self) -> int:
        """Finished epochs."""
        return len(self.epoch_seconds)

    @property
    def train_seconds(self) -> float:
        """The epochs alone: no compiling, no validation."""
        return sum(self.epoch_seconds)

    @property
    def images_per_second(self) -> float:
        """Over all finished epochs; 0 before the first."""
        return self.images / self.train_seconds if self.train_seconds else 0.0

    def record(self, metrics: Mapping[str, float], images: int, seconds: float) -> None:
        """Append an epoch."""
        for name, value in metrics.items():
            self.history.setdefault(name, []).append(value)
        self.images += images
        self.epoch_seconds.append(seconds)

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "history": self.history,
            "epoch_seconds": self.epoch_seconds,
            "train_seconds": self.train_seconds,
            "compile_seconds": self.compile_seconds,
            "images_per_second": self.images_per_second,
        }
