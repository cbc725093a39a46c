"""What a data set is, once it is in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Dataset:
    """Labelled images, for training and for testing.

    Attributes
    ----------
    name : str
        "mnist", "uci-digits", or "folder NAME" for other files in MNIST's format.
    x_train, x_test : (N, C, H, W) uint8
        Bright strokes (255) on a dark ground (0).
    y_train, y_test : (N,) int64
        From 0 to classes - 1.
    classes : int
    origin : str
        One line for people: which data this is, why this, and how to have MNIST if it is not.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int
    origin: str

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.x_train.shape[1:]
        return channels, height, width
