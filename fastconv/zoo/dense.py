"""Networks without convolutions."""

from __future__ import annotations

from fastconv import nn


def softmax(
    input_shape: tuple[int, ...] = (1, 28, 28), classes: int = 10, seed: int = 0, *, dtype: str = "float32"
) -> nn.Sequential:
    """Softmax regression: one dense layer, a linear classifier.  The outputs are logits."""
    return nn.Sequential([nn.Flatten(), nn.Dense(classes)], input_shape=input_shape, seed=seed, dtype=dtype)


def mlp(
    input_shape: tuple[int, ...] = (1, 28, 28),
    classes: int = 10,
    seed: int = 0,
    *,
    hidden: tuple[int, int] = (512, 256),
    dtype: str = "float32",
) -> nn.Sequential:
    """A multilayer perceptron: two hidden layers of ``hidden`` units with ReLU."""
    layers = [nn.Flatten(), *(nn.Dense(units, activation="relu") for units in hidden), nn.Dense(classes)]
    return nn.Sequential(layers, input_shape=input_shape, seed=seed, dtype=dtype)
