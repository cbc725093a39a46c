"""``fastconv info``, ``warmup`` and ``explain``."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict

import fastconv
from fastconv import shapes
from fastconv.functional.machine import machine

from .report import as_json, versions
from .where import chosen

DIRECTIONS = ("forward", "backward_input", "backward_weight")


def info(arguments: Namespace) -> None:
    """Print versions, the machine, and every kernel with its availability."""
    here, found = machine(), fastconv.info()
    if arguments.json:
        kernels = [
            {
                "name": kernel.name,
                "operator": kernel.operator,
                "direction": kernel.direction,
                "algorithm": kernel.algorithm,
                "target": kernel.target,
                "available": not reason,
                "reason": reason,
                "summary": kernel.summary,
                "source": kernel.source,
            }
            for kernel, reason in found.kernels
        ]
        machine_now = {**asdict(here), "cache": str(here.cache)}
        print(as_json({"versions": versions(), "machine": machine_now, "cuda": found.cuda or "available", "kernels": kernels}))
        return
    print("  ".join(f"{package} {version}" for package, version in versions().items()))
    print(f"cpu: {here.cpu}, {here.lanes} float32 lanes, {here.threads} thread(s)")
    print(f"compiled kernels: {here.cache}")
    print(found)


def warmup(arguments: Namespace) -> None:
    """Compile the kernels into the cache, with a progress bar."""
    fastconv.warmup()
    print(f"compiled kernels: {machine().cache}")


def explain(arguments: Namespace) -> None:
    """Print, for each direction, the walk through the kernels and the one that is chosen."""
    problem = shapes.parse(" ".join(arguments.shape))
    with chosen(arguments):
        for direction in (arguments.direction,) if arguments.direction else DIRECTIONS:
            print(fastconv.explain(problem, direction=direction))
