"""``fastconv info``, ``warmup`` and ``explain``."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict

import fastconv
from fastconv import shapes
from fastconv.errors import ArgumentError
from fastconv.functional import rehearsal
from fastconv.functional.machine import machine

from . import code, models, roofline
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
    arch = arguments.arch.split(",") if arguments.arch else None
    fastconv.warmup(target=arguments.target, arch=arch, precisions=arguments.precisions.split(","))
    print(f"compiled kernels: {rehearsal.folder() if arguments.target == 'cuda' else machine().cache}")


def explain(arguments: Namespace) -> None:
    """Print, for each direction of a shape or each layer of a model, the walk through the kernels."""
    show = [option for option in code.SHOWN if getattr(arguments, option)]
    if len(arguments.shape) == 1 and models.is_name(arguments.shape[0]):
        if show:
            raise ArgumentError(f"--{show[0]}: expected a SHAPE to show the code for, got a model")
        _explain_model(arguments)
        return
    problem = shapes.parse(" ".join(arguments.shape))
    with chosen(arguments):
        for direction in (arguments.direction,) if arguments.direction else DIRECTIONS:
            explanation = fastconv.explain(problem, direction=direction)
            print(explanation)
            if arguments.roofline:
                print(roofline.told(explanation, explanation.threads or 1))
            for option in show:
                for text in code.SHOWN[option](problem, direction, explanation.chosen):
                    print(text)


def _explain_model(arguments: Namespace) -> None:
    model = models.named(arguments.shape[0])
    training = arguments.training or arguments.direction not in (None, "forward")
    with chosen(arguments):
        for noted in model.network.problems(arguments.batch, training):
            if arguments.direction in (None, noted.direction):
                print(f"{noted.layer}:")
                print(fastconv.explain(noted.problem, operator=noted.operator, direction=noted.direction, converting=False))
