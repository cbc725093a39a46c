"""``fastconv info``, ``warmup`` and ``explain``."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from typing import Any

import fastconv
from fastconv import choice, shapes
from fastconv.bench import cases
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
        _explain_model(arguments, show)
        return
    operator, problem = _problem(arguments.shape)
    with chosen(arguments):
        for direction in _directions(operator, arguments.direction):
            explanation = fastconv.explain(problem, operator=operator, direction=direction)
            print(explanation)
            if arguments.roofline:
                print(roofline.told(explanation, explanation.threads or 1))
            _show(show, code.of_problem((operator, direction, problem), explanation.chosen))


def _problem(words: list[str]) -> tuple[str, Any]:
    """(operator, problem) of a convolution's words, of a pooling's, or of a matrix product's MxNxK."""
    words = " ".join(words).split()
    if words[0] in ("max", "average"):
        window = " ".join(word for word in words if word != "nhwc")
        return "pool", cases.pooling(window).with_layout("NHWC" if "nhwc" in words else "NCHW")
    if len(words) == 1 and words[0].count("x") == 2:
        return "matmul", cases.product(words[0])
    return "conv", shapes.parse(" ".join(words))


def _directions(operator: str, asked: str | None) -> list[str]:
    known = [direction for name, direction in choice.OPERATORS if name == operator]
    if asked not in (None, *known):
        raise ArgumentError(f"--direction: expected one of {', '.join(known)} for {operator}, got {asked!r}")
    return [asked] if asked else known


def _show(options: list[str], found: code.Code) -> None:
    for option in options:
        for text in code.SHOWN[option](found):
            print(text)


def _explain_model(arguments: Namespace, show: list[str]) -> None:
    name, model = arguments.shape[0], models.named(arguments.shape[0])
    training = arguments.training or arguments.direction not in (None, "forward")
    computed = []
    with chosen(arguments):
        for noted in model.network.problems(arguments.batch, training):
            if arguments.direction in (None, noted.direction):
                computed.append((noted.operator, noted.direction, noted.problem))
                print(f"{noted.layer}:")
                print(fastconv.explain(noted.problem, operator=noted.operator, direction=noted.direction, converting=False))
        if show:
            _show(show, code.of_model(name, model, computed, arguments.batch, training))
