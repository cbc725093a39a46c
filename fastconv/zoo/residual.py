"""Residual networks for small images."""

from __future__ import annotations

from fastconv import nn

STAGES = (64, 1), (128, 2), (256, 2), (512, 2)
"""(channels, stride of the first block) of the four stages."""


def _block(filters: int, stride: int, changes: bool) -> nn.Residual:
    """Two 3 x 3 convolutions; where shape changes, the shortcut is a 1 x 1 convolution."""
    body = [
        nn.Conv2D(filters, 3, strides=stride, padding=1, use_bias=False),
        nn.BatchNorm(activation="relu"),
        nn.Conv2D(filters, 3, padding=1, use_bias=False),
        nn.BatchNorm(),
    ]
    shortcut = [nn.Conv2D(filters, 1, strides=stride, use_bias=False), nn.BatchNorm()] if changes else []
    return nn.Residual(body, shortcut)


def resnet18(
    input_shape: tuple[int, ...] = (3, 32, 32), classes: int = 10, seed: int = 0, *, dtype: str = "float32"
) -> nn.Sequential:
    """ResNet-18 for images of 32 x 32 or so: a 3 x 3 stem without pooling, then four stages of two blocks.

    Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2016: its depth and widths for ImageNet, with
    the stem of its networks for CIFAR-10.
    """
    layers: list[nn.Layer] = [nn.Conv2D(STAGES[0][0], 3, padding=1, use_bias=False), nn.BatchNorm(activation="relu")]
    before = STAGES[0][0]
    for filters, stride in STAGES:
        layers += [_block(filters, stride, filters != before), _block(filters, 1, False)]
        before = filters
    layers += [nn.GlobalAveragePool2D(), nn.Dense(classes)]
    return nn.Sequential(layers, input_shape=input_shape, seed=seed, dtype=dtype)
