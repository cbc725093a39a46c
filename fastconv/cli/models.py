"""A model that a command is told by name: a saved one, or one of the zoo."""

from __future__ import annotations

from pathlib import Path

from fastconv import nn, zoo
from fastconv.errors import ArgumentError

IMAGES = {"resnet18": (3, 32, 32)}
"""What a model of the zoo is built for, where that is not MNIST's (1, 28, 28)."""


def is_name(text: str) -> bool:
    """Whether it can name a model, and not be a word of a shape."""
    return text in zoo.MODELS or text.endswith(".safetensors") or Path(text).is_file()


def named(text: str) -> nn.Sequential:
    """The model.

    Raises
    ------
    ArgumentError
        It names none.
    CheckpointError
        The file is missing, damaged, or holds no model.
    """
    if text in zoo.MODELS:
        return zoo.build(text, IMAGES.get(text, (1, 28, 28)))
    if not is_name(text):
        raise ArgumentError(f"--model: expected a file of weights, or one of {', '.join(zoo.MODELS)}, got {text!r}")
    return nn.load_model(text)
