"""Which neighbouring layers are computed as one: what a network is planned from, never what the user sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .activation import ReLU
from .base import Layer
from .conv_pool import ConvPool2D
from .convolution import Conv2D
from .dense import Dense
from .normalization import BatchNorm
from .pooling import MaxPool2D


def joined(first: Layer, second: Layer) -> Layer | None:
    """One layer that computes both, with the parameters of the first; None if there is none."""
    if isinstance(second, ReLU) and isinstance(first, (Conv2D, Dense, BatchNorm)) and first.activation is None:
        return replace(first, activation="relu")
    if isinstance(second, MaxPool2D) and isinstance(first, Conv2D):
        return ConvPool2D(first, second)
    return None


def fused(layers: Sequence[Layer]) -> list[tuple[int, Layer]]:
    """The layers as they are computed, each with the place of the first that is in it."""
    found: list[tuple[int, Layer]] = []
    for place, layer in enumerate(layers):
        if found and (both := joined(found[-1][1], layer)) is not None:
            found[-1] = found[-1][0], both
        else:
            found.append((place, layer))
    return found
