"""A model's weights in a file: which tensors there are, and how a file says which model they are of."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from fastconv.errors import ArgumentError, CheckpointError

from . import checkpoint
from .layers import LAYERS, Layer
from .network import Network

ARCHITECTURE = "architecture"
"""The metadata entry that describes the model, JSON."""


def describe(network: Network) -> dict[str, Any]:
    """The model as JSON holds it: input shape, and each layer with the arguments that are not defaults."""
    layers = [_described(layer) for layer in network.layers]
    # Through JSON and back: pairs become lists, so that a description compares equal to one that was read.
    described: dict[str, Any] = json.loads(json.dumps({"input_shape": network.input_shape, "layers": layers}))
    return described


def _described(layer: Layer) -> dict[str, Any]:
    inner = {name: value for name, value in layer.config().items() if _are_layers(value)}
    return {
        "layer": type(layer).__name__,
        **layer.config(),
        **{name: [_described(part) for part in parts] for name, parts in inner.items()},
    }


def _built(described: dict[str, Any]) -> Layer:
    arguments = {name: value for name, value in described.items() if name != "layer"}
    for name, value in arguments.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            arguments[name] = [_built(part) for part in value]
    return LAYERS[described["layer"]](**arguments)


def _are_layers(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], Layer)


def _tensors(network: Network) -> dict[str, Any]:
    """What a file holds, by name."""
    return {**network.parameters.value, **network.state.value}


def save(path: str | os.PathLike[str], network: Network, metadata: Mapping[str, str]) -> None:
    """Write parameters and state by name, and the model's description beside the caller's ``metadata``."""
    tensors = {name: network.place.fetch(value) for name, value in _tensors(network).items()}
    checkpoint.save(path, tensors, {**metadata, ARCHITECTURE: json.dumps(describe(network))})


def load(path: str | os.PathLike[str], network: Network) -> None:
    """Read parameters and state into ``network``: all of them, or on any error none."""
    tensors, metadata = checkpoint.load(path)
    expected = _tensors(network)
    if missing := [name for name in expected if name not in tensors]:
        raise CheckpointError(f"{path}: weights of another model, it has no {', '.join(missing)}")
    if unknown := [name for name in tensors if name not in expected]:
        raise CheckpointError(f"{path}: weights of another model, this one has no {', '.join(unknown)}")
    for name, value in expected.items():
        if tensors[name].shape != value.shape or tensors[name].dtype.kind != "f":
            found = f"{tensors[name].dtype} {tensors[name].shape}"
            raise CheckpointError(f"{path}: weights of another model, {name} is {found}, expected {value.dtype} {value.shape}")
    if ARCHITECTURE in metadata and (theirs := _parsed(path, metadata)) != (ours := describe(network)):
        raise CheckpointError(f"{path}: weights of another model, {json.dumps(theirs)}, expected {json.dumps(ours)}")
    for name, value in expected.items():
        network.place.write(value, tensors[name])


def description(path: str | os.PathLike[str]) -> tuple[list[Layer], tuple[int, ...]]:
    """(layers, input_shape) of the model that a file's weights are of.

    Raises
    ------
    CheckpointError
        The file does not say, or in words that this version does not know.
    """
    _, metadata = checkpoint.load(path)
    if ARCHITECTURE not in metadata:
        raise CheckpointError(f"{path}: it does not describe its model; build that model and call its load")
    try:
        described = _parsed(path, metadata)
        layers = [_built(layer) for layer in described["layers"]]
        return layers, tuple(described["input_shape"])
    except (ArgumentError, AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: its description of a model cannot be understood ({error})") from error


def _parsed(path: str | os.PathLike[str], metadata: Mapping[str, str]) -> Any:
    try:
        return json.loads(metadata[ARCHITECTURE])
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}: its description of a model is damaged ({error})") from error
