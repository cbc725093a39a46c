"""The zoo's networks in PyTorch, with the weights that fastconv's begin with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from fastconv import zoo
from fastconv.bench.cases import Training


def mnist_cnn(shape: tuple[int, ...], classes: int) -> Any:
    """As zoo.mnist_cnn."""
    channels, height, width = shape
    return nn.Sequential(
        *(nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * (height // 4) * (width // 4), 128), nn.ReLU()),
        nn.Linear(128, classes),
    )


def lenet5(shape: tuple[int, ...], classes: int) -> Any:
    """As zoo.lenet5."""
    channels, height, width = shape
    return nn.Sequential(
        *(nn.Conv2d(channels, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(16 * (height // 4 - 2) * (width // 4 - 2), 120), nn.ReLU()),
        *(nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, classes)),
    )


def _normalised(inputs: int, outputs: int, window: int, stride: int) -> list[Any]:
    """A convolution without bias, and batch normalisation."""
    return [nn.Conv2d(inputs, outputs, window, stride, window // 2, bias=False), nn.BatchNorm2d(outputs)]


class Residual(nn.Module):
    """relu(body(x) + shortcut(x))."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_normalised(inputs, outputs, 3, stride), nn.ReLU(inplace=True), *_normalised(outputs, outputs, 3, 1)
        )
        self.shortcut = nn.Sequential(*_normalised(inputs, outputs, 1, stride) if inputs != outputs else ())

    def forward(self, x: Any) -> Any:
        return torch.relu_(self.body(x) + self.shortcut(x))


def resnet18(shape: tuple[int, ...], classes: int) -> Any:
    """As zoo.resnet18."""
    layers, inputs = [*_normalised(shape[0], 64, 3, 1), nn.ReLU(inplace=True)], 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Residual(inputs, outputs, stride), Residual(outputs, outputs, 1)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


NETWORKS: dict[str, Callable[..., Any]] = {"mnist-cnn": mnist_cnn, "lenet5": lenet5, "resnet18": resnet18}


def network(problem: Training) -> Any:
    """The network with the weights of fastconv's: its convolutions are HWIO, its dense layers (features, outputs)."""
    made = NETWORKS[problem.model](problem.shape, problem.classes)
    initial = zoo.build(problem.model, problem.shape, problem.classes).parameters
    channels = problem.shape[0]
    with torch.no_grad():
        for parameter, value in zip(made.parameters(), initial.values(), strict=True):
            if value.ndim == 4:
                channels = value.shape[3]
                value = value.transpose(3, 2, 0, 1)
            elif value.ndim == 2:
                pixels = value.reshape(-1, channels, value.shape[1])  # fastconv flattens channels last
                value = pixels.transpose(2, 1, 0).reshape(value.shape[1], -1)
                channels = 1
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))
    return made
