"""``fastconv evaluate`` and ``fastconv predict``: with weights that ``train --out`` has written."""

from __future__ import annotations

from argparse import Namespace
from time import perf_counter

import numpy as np

from fastconv import data, nn
from fastconv.errors import CheckpointError, DataError
from fastconv.nn import checkpoint

from . import pictures
from .report import as_json, say
from .where import chosen

TOP = 3
"""Classes that are shown with their probabilities."""


def evaluate(arguments: Namespace) -> None:
    """Print accuracy and loss on the test images of the data set that the weights were trained on, or of ``--data``."""
    model, metadata = _model(arguments.weights)
    shape = model.network.input_shape
    trained_on = metadata.get("dataset", "")
    images = data.load(trained_on if arguments.data is None and trained_on in data.NAMES else "auto", folder=arguments.data)
    say(f"data: {images.origin}")
    if images.input_shape != shape or images.classes != model.network.output_shape[0]:
        raise DataError(
            f"{arguments.weights}: expected images of {_written(shape)} in {model.network.output_shape[0]} classes, "
            f"but {images.name} has {_written(images.input_shape)} in {images.classes}"
        )
    with chosen(arguments):
        model.compile(metrics=["accuracy"])
        began = perf_counter()
        measured = model.evaluate(images.x_test, images.y_test, batch_size=arguments.batch_size)
        seconds = perf_counter() - began
    name = metadata.get("model", "model")
    if arguments.json:
        result = {
            "model": name,
            "weights": arguments.weights,
            "dataset": images.name,
            "images": len(images.x_test),
            "test_accuracy": measured["accuracy"],
            "test_loss": measured["loss"],
            "seconds": seconds,
        }
        print(as_json(result))
    else:
        accuracy, loss = measured["accuracy"], measured["loss"]
        print(f"{name} on {images.name}: test accuracy {accuracy:.2%}, test loss {loss:.4f} ({len(images.x_test):,} images)")


def predict(arguments: Namespace) -> None:
    """Print, for each image, the class and the most probable classes' probabilities."""
    model, metadata = _model(arguments.weights)
    shape = model.network.input_shape
    found = [picture for path in arguments.images for picture in pictures.read(path, shape, arguments.invert, arguments.limit)]
    if not found:
        raise DataError(f"{', '.join(arguments.images)}: expected at least one image, got none")
    with chosen(arguments):
        probabilities = model.predict_proba(np.stack([picture.image for picture in found]))
    if arguments.json:
        rows = [
            {"image": picture.name, "class": int(row.argmax()), "probabilities": [float(value) for value in row]}
            for picture, row in zip(found, probabilities, strict=True)
        ]
        print(as_json({"model": metadata.get("model", "model"), "weights": arguments.weights, "predictions": rows}))
        return
    for picture, row in zip(found, probabilities, strict=True):
        ranked = np.argsort(row, kind="stable")[::-1][:TOP]
        likely = ", ".join(f"{index}: {row[index]:.2%}" for index in ranked)
        print(f"{picture.name}: {ranked[0]}  ({likely})  {picture.done}")


def _model(path: str) -> tuple[nn.Sequential, dict[str, str]]:
    """The model of a weights file, and the words that are kept in it."""
    _, metadata = checkpoint.load(path)
    model = nn.load_model(path)
    if len(model.network.input_shape) != 3 or model.network.input_shape[0] != 1 or len(model.network.output_shape) != 1:
        raise CheckpointError(
            f"{path}: expected a model of grey images (1, H, W) that gives (classes,), "
            f"this one takes {model.network.input_shape} and gives {model.network.output_shape}"
        )
    return model, metadata


def _written(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
