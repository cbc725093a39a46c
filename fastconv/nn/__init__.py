"""Networks: layers, a model that trains, and what it trains with.

The layers have explicit ``forward`` and ``backward`` and know no kernel by name: ``fastconv.dispatch`` chooses.
"""

from __future__ import annotations

from . import losses, optimizers, schedules
from .history import History
from .layers import (
    ELU,
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    LeakyReLU,
    Maxout,
    MaxPool2D,
    ReLU,
    Residual,
    Sigmoid,
    Softmax,
    Tanh,
)
from .model import Sequential, load_model
from .optimizers import SGD, Adam
from .schedules import Constant, Cosine, StepDecay

__all__ = [
    "ELU",
    "SGD",
    "Adam",
    "AveragePool2D",
    "BatchNorm",
    "Constant",
    "Conv2D",
    "Cosine",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAveragePool2D",
    "History",
    "Layer",
    "LeakyReLU",
    "MaxPool2D",
    "Maxout",
    "ReLU",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "StepDecay",
    "Tanh",
    "load_model",
    "losses",
    "optimizers",
    "schedules",
]
