"""The layers, one idea in each file."""

from .activation import ELU, LeakyReLU, Maxout, ReLU, Sigmoid, Softmax, Tanh
from .base import Layer, Stage
from .chain import Chain
from .convolution import Conv2D
from .dense import Dense
from .dropout import Dropout
from .normalization import BatchNorm
from .pooling import AveragePool2D, GlobalAveragePool2D, MaxPool2D
from .residual import Residual
from .shape import Flatten

LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (
        *(Conv2D, MaxPool2D, AveragePool2D, GlobalAveragePool2D, Flatten, Dense, Dropout, BatchNorm, Residual),
        *(ReLU, LeakyReLU, ELU, Sigmoid, Tanh, Maxout, Softmax),
    )
}
"""By name, as a weights file describes a model."""

__all__ = [
    "ELU",
    "LAYERS",
    "AveragePool2D",
    "BatchNorm",
    "Chain",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAveragePool2D",
    "Layer",
    "LeakyReLU",
    "MaxPool2D",
    "Maxout",
    "ReLU",
    "Residual",
    "Sigmoid",
    "Softmax",
    "Stage",
    "Tanh",
]
