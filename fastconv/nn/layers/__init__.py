"""The layers, one idea in each file."""

from .activation import ELU, LeakyReLU, Maxout, ReLU, Sigmoid, Softmax, Tanh
from .base import Layer, Stage
from .convolution import Conv2D
from .dense import Dense
from .dropout import Dropout
from .pooling import AveragePool2D, MaxPool2D
from .shape import Flatten

LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (
        *(Conv2D, MaxPool2D, AveragePool2D, Flatten, Dense, Dropout),
        *(ReLU, LeakyReLU, ELU, Sigmoid, Tanh, Maxout, Softmax),
    )
}
"""By name, as a weights file describes a model."""

__all__ = [
    "ELU",
    "LAYERS",
    "AveragePool2D",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "Layer",
    "LeakyReLU",
    "MaxPool2D",
    "Maxout",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "Stage",
    "Tanh",
]
