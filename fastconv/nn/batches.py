"""Data on its way into a network: what is checked, once, before batch after batch is taken from it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastconv.errors import ArgumentError, DtypeError
from fastconv.functional import to_host

from .layers.base import Shape
from .parameters import Array


class Data(NamedTuple):
    """Checked images (N, …) and their labels (N,) int64."""

    x: Array
    y: Array


def check_images(x: Any, input_shape: Shape, name: str = "x") -> Array:
    """Images as one C-contiguous array (N, *input_shape), uint8 or float: no copy if they are that already.

    Parameters
    ----------
    x : (N, C, H, W), or (N, H, W) for one channel, or (N, features)
    input_shape : (C, H, W) or (features,)
    """
    x = _on_host(x, name)
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise DtypeError(f"{name}: expected uint8 (0 to 255, scaled to [0, 1]) or float, got {x.dtype}")
    if len(input_shape) == 3 and input_shape[0] == 1 and x.shape[1:] == input_shape[1:]:
        x = x[:, None]
    if x.ndim != len(input_shape) + 1 or x.shape[1:] != input_shape:
        expected = f"(N, {', '.join(map(str, input_shape))})"
        raise ArgumentError(f"{name}: expected the shape {expected}, which the model was built for, got {x.shape}")
    return np.ascontiguousarray(x)


def image_shape(x: Any) -> Shape:
    """The ``input_shape`` that a model for ``x`` must have."""
    shape = _on_host(x, "x").shape
    if len(shape) == 3:
        return 1, *shape[1:]
    if len(shape) not in (2, 4):
        raise ArgumentError(f"x: expected (N, C, H, W), (N, H, W) or (N, features), got the shape {shape}")
    return tuple(shape[1:])


def _on_host(x: Any, name: str) -> Array:
    try:
        return to_host(x)
    except DtypeError:
        raise DtypeError(f"{name}: expected an array, got {type(x).__name__}") from None


def check_labels(labels: Any, images: int, classes: int, name: str = "y") -> Array:
    """Labels as integers (N,) int64, from integers or from one-hot rows (N, classes)."""
    try:
        y: Array = np.asarray(labels)
    except ValueError as error:
        raise ArgumentError(f"{name}: expected an array of labels, but reading it as one fails: {error}") from None
    if len(y.shape) == 0 or y.shape[0] != images:
        raise ArgumentError(f"{name}: expected {images} labels, one for each image, got the shape {y.shape}")
    if y.shape == (images, classes) and classes > 1:
        return _from_one_hot(y, name)
    if y.shape not in ((images,), (images, 1)):
        raise ArgumentError(f"{name}: expected labels ({images},) or one-hot rows ({images}, {classes}), got {y.shape}")
    if y.dtype.kind not in "iu":
        raise DtypeError(f"{name}: expected integer labels, got {y.dtype}")
    y = y.reshape(images)
    if images and (y.min() < 0 or y.max() >= classes):
        raise ArgumentError(f"{name}: expected labels from 0 to {classes - 1}, got {y.min()} to {y.max()}")
    return np.array(y, np.int64)


def _from_one_hot(y: Array, name: str) -> Array:
    if y.dtype.kind not in "iufb" or not ((y == 0) | (y == 1)).all() or (np.count_nonzero(y, axis=1) != 1).any():
        raise ArgumentError(f"{name}: expected integers or one-hot rows, but some row has not exactly one 1, the rest 0")
    labels: Array = y.argmax(1).astype(np.int64)
    return labels


def checked(x: Any, y: Any, input_shape: Shape, classes: int, name: str = "{}") -> Data:
    """Images and labels as they are learned from; ``name`` is what errors call them."""
    images = check_images(x, input_shape, name.format("x"))
    if not len(images):
        raise ArgumentError(f"{name.format('x')}: expected at least one image, got none")
    return Data(images, check_labels(y, len(images), classes, name.format("y")))


def split(data: Data, share: float) -> tuple[Data, Data | None]:
    """(what is trained on, the last ``share`` of it, which is validated with)."""
    if not share:
        return data, None
    kept = len(data.x) - int(len(data.x) * share)
    if kept in (0, len(data.x)):
        raise ArgumentError(f"validation_split: {share} of {len(data.x)} images leaves none for one of the two")
    return Data(data.x[:kept], data.y[:kept]), Data(data.x[kept:], data.y[kept:])
