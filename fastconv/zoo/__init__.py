"""The zoo: known networks, each a function that makes one, with the hyper-parameters it learns well with.

>>> from fastconv import zoo
>>> model, recipe = zoo.build("lenet5", input_shape=(1, 28, 28), classes=10, seed=0), zoo.RECIPES["lenet5"]
>>> model.compile(optimizer=recipe.make_optimizer())

and then ``model.fit(x, y, epochs=recipe.epochs, batch_size=recipe.batch_size)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastconv.errors import ArgumentError
from fastconv.nn import Sequential

from .convolutional import lenet5, mnist_cnn
from .dense import mlp, softmax
from .recipe import Recipe
from .residual import resnet18

__all__ = ["MODELS", "RECIPES", "Recipe", "build", "lenet5", "mlp", "mnist_cnn", "resnet18", "softmax"]

MODELS: dict[str, Callable[..., Sequential]] = {
    "softmax": softmax,
    "mlp": mlp,
    "lenet5": lenet5,
    "mnist-cnn": mnist_cnn,
    "resnet18": resnet18,
}
"""By the name that the command line knows."""

RECIPES: dict[str, Recipe] = {
    "softmax": Recipe("adam", learning_rate=1e-3, batch_size=64, epochs=5),
    "mlp": Recipe("adam", learning_rate=1e-3, batch_size=64, epochs=5),
    "lenet5": Recipe("adam", learning_rate=1e-3, batch_size=64, epochs=5),
    "mnist-cnn": Recipe("adam", learning_rate=1e-3, batch_size=128, epochs=1),
    "resnet18": Recipe("adam", learning_rate=1e-3, batch_size=128, epochs=1),
}
"""What each model learns MNIST well with."""


def build(
    name: str,
    input_shape: tuple[int, ...] = (1, 28, 28),
    classes: int = 10,
    seed: int = 0,
    **options: Any,
) -> Sequential:
    """The model called ``name``, built for images of ``input_shape`` (C, H, W).

    Raises
    ------
    ArgumentError
        There is no such model, or it cannot take such images.
    """
    if name not in MODELS:
        raise ArgumentError(f"model: expected one of {', '.join(MODELS)}, got {name!r}")
    return MODELS[name](input_shape, classes, seed, **options)
