"""Convolutional networks for small images."""

from __future__ import annotations

from fastconv import nn


def lenet5(
    input_shape: tuple[int, ...] = (1, 28, 28), classes: int = 10, seed: int = 0, *, dtype: str = "float32"
) -> nn.Sequential:
    """LeNet-5 as it is taught today: the sizes of 1998, but ReLU for tanh, max-pooling for trained averages, logits for RBFs.

    The images of 1998 were 32 x 32, digits of 28 with a border: ``padding="same"`` in the first layer stands for the border.
    Where the second convolution's 5 x 5 window would not fit (8 x 8 digits) it is padded too.

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998.
    """
    second = "valid" if min(input_shape[-2:]) >= 12 else "same"
    layers = [
        nn.Conv2D(6, 5, activation="relu", padding="same"),
        nn.MaxPool2D(2),
        nn.Conv2D(16, 5, activation="relu", padding=second),
        nn.MaxPool2D(2),
        nn.Flatten(),
        nn.Dense(120, activation="relu"),
        nn.Dense(84, activation="relu"),
        nn.Dense(classes),
    ]
    return nn.Sequential(layers, input_shape=input_shape, seed=seed, dtype=dtype)


def mnist_cnn(
    input_shape: tuple[int, ...] = (1, 28, 28), classes: int = 10, seed: int = 0, *, dtype: str = "float32"
) -> nn.Sequential:
    """The network that fastconv is measured by: two 3 x 3 convolutions with pooling and two dense layers."""
    layers = [
        nn.Conv2D(32, 3, activation="relu", padding="same"),
        nn.MaxPool2D(2),
        nn.Conv2D(64, 3, activation="relu", padding="same"),
        nn.MaxPool2D(2),
        nn.Flatten(),
        nn.Dense(128, activation="relu"),
        nn.Dense(classes),
    ]
    return nn.Sequential(layers, input_shape=input_shape, seed=seed, dtype=dtype)
