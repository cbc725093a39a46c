"""Small models and real digits for the tests of networks."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from fastconv import nn

Array = np.ndarray[Any, np.dtype[Any]]


@cache
def digits() -> tuple[Array, Array]:
    """Real handwritten digits, read-only: (N, 8, 8) uint8, (N,) int64."""
    bunch = load_digits()
    x, y = (bunch.images * 255 / 16).round().astype(np.uint8), bunch.target
    x.flags.writeable = y.flags.writeable = False
    return x, y


def small_cnn(seed: int = 0, **options: Any) -> nn.Sequential:
    layers = [
        nn.Conv2D(8, 3, activation="relu", padding="same", input_shape=(1, 8, 8)),
        nn.MaxPool2D(2),
        nn.Conv2D(16, 3, padding="same"),
        nn.ReLU(),
        nn.AveragePool2D(2),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Dense(32, activation="relu"),
        nn.Dense(10),
    ]
    return nn.Sequential(layers, seed=seed, **options)


def trained(images: int = 330, optimizer: Any = "adam", **options: Any) -> tuple[nn.Sequential, nn.History]:
    """Ten batches of 32 and one of ten."""
    model, (x, y) = small_cnn(), digits()
    model.compile(optimizer, **options)
    return model, model.fit(x[:images], y[:images], epochs=2, batch_size=32, verbose=0)
