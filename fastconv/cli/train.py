"""``fastconv train``."""

from __future__ import annotations

from argparse import Namespace
from time import perf_counter
from typing import Any

from fastconv import data, nn, zoo
from fastconv.errors import ArgumentError
from fastconv.nn import checkpoint

from .report import check_json, say, versions, write_json
from .where import chosen

SMALL = 10_000
"""Images below which a data set is seen more often: an epoch of the UCI digits has 12 steps, one of MNIST 469."""

EPOCHS_OF_SMALL = 40
MOMENTUM = 0.9
"""Of sgd."""


def train(arguments: Namespace) -> None:
    """Train, test, print a summary, and write what was asked for."""
    began = perf_counter()
    if arguments.model not in zoo.MODELS:
        raise ArgumentError(f"--model: expected one of {', '.join(zoo.MODELS)}, got {arguments.model!r}")
    recipe = zoo.RECIPES[arguments.model]
    optimizer, batch_size = _optimizer(arguments, recipe), arguments.batch_size or recipe.batch_size
    if arguments.out:
        checkpoint.check_writable(arguments.out)
    if arguments.json:
        check_json(arguments.json)
    with chosen(arguments) as where:
        images = data.load(folder=arguments.data)
        say(f"data: {images.origin}")
        model = zoo.build(arguments.model, images.input_shape, images.classes, seed=arguments.seed)
        model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        history = model.fit(
            images.x_train,
            images.y_train,
            epochs=arguments.epochs or (recipe.epochs if len(images.x_train) >= SMALL else EPOCHS_OF_SMALL),
            batch_size=batch_size,
            validation_data=(images.x_test, images.y_test),
        )
    if arguments.out:
        model.save(arguments.out, _metadata(arguments.model, images))
    result = {
        "model": arguments.model,
        "dataset": images.name,
        "origin": images.origin,
        "parameters": model.parameter_count,
        "epochs": history.epochs,
        "batch_size": batch_size,
        "optimizer": type(optimizer).__name__.lower(),
        "learning_rate": optimizer.learning_rate,
        "seed": arguments.seed,
        **where,
        **history.as_dict(),
        "total_seconds": perf_counter() - began,
        "test_accuracy": history["val_accuracy"][-1],
        "test_loss": history["val_loss"][-1],
        "versions": versions(),
    }
    if arguments.json:
        write_json(arguments.json, result)
    print(summary(result))
    if arguments.out:
        print(f"weights: {arguments.out}")


def _optimizer(arguments: Namespace, recipe: zoo.Recipe) -> nn.optimizers.Optimizer:
    """The recipe's where it is of the kind that was asked for."""
    if arguments.optimizer == "sgd" != recipe.optimizer:
        return nn.SGD(momentum=MOMENTUM) if arguments.lr is None else nn.SGD(arguments.lr, momentum=MOMENTUM)
    return recipe.make_optimizer(arguments.optimizer, arguments.lr)


def _metadata(model: str, images: data.Dataset) -> dict[str, str]:
    """What ``evaluate`` and ``predict`` read, beside the architecture that ``Sequential.save`` writes."""
    return {
        "model": model,
        "dataset": images.name,
        "input_shape": ",".join(map(str, images.input_shape)),
        "classes": str(images.classes),
    }


def summary(result: dict[str, Any]) -> str:
    """A line on how well and how fast."""
    return (
        f"{result['model']} on {result['dataset']}: test accuracy {result['test_accuracy']:.2%}, "
        f"test loss {result['test_loss']:.4f}; trained in {result['train_seconds']:.1f} s "
        f"({result['images_per_second']:,.0f} images/s), compiled in {result['compile_seconds']:.1f} s, "
        f"{result['total_seconds']:.1f} s in all"
    )
