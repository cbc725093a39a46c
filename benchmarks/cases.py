"""What is measured: the layers in ``shapes/*.txt``, the kernels that take them, and arrays of noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fastconv.cli.shapes import parse
from fastconv.dispatch import Conv, Kernel, kernels

SHAPES = Path(__file__).with_name("shapes")
NETWORKS = ("lenet5", "mnist-cnn", "resnet")
"""Files of ``shapes`` that hold the layers of a network."""


def convolutions(*files: str) -> dict[str, Conv]:
    """Every line of ``files`` in ``shapes``, of all networks by default, as a problem in NHWC, by "file: line"."""
    found = {}
    for path in sorted(SHAPES.glob("*.txt")):
        if path.stem not in (files or NETWORKS):
            continue
        for line in path.read_text().splitlines():
            if text := line.partition("#")[0].strip():
                found[f"{path.stem}: {text}"] = parse(text).with_layout("NHWC")
    return found


def running(operator: str, direction: str, problem: Any) -> list[Kernel]:
    """The CPU kernels that neither refuse nor decline ``problem``, each asked in the layout that it takes."""
    found = []
    for kernel in kernels(operator, direction):
        own = kernel.in_layout(problem)
        if kernel.target == "cpu" and not kernel.refuses(own) and not kernel.declines(own):
            found.append(kernel)
    return found


def noise(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)
