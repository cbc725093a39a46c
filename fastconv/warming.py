"""Compiling ahead: what a first call would wait for, done at a time of one's choosing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from . import functional
from .dispatch import FLOATS, Settings
from .errors import ArgumentError

if TYPE_CHECKING:
    from .nn import Sequential

Step = tuple[str, Callable[[], object]]


LARGE_MODEL, SMALL_BATCH = 1_000_000, 8
"""Parameters from which on a model is warmed up with so few images: its kernels are those of many images all the same."""


def warmup(
    models: str | Sequence[str] | None = None,
    dtypes: str | Sequence[str] = ("float32",),
    progress: bool = True,
    *,
    target: str | None = None,
    arch: str | Sequence[str] | None = None,
    precisions: str | Sequence[str] = ("fp32", "tf32"),
) -> None:
    """Compile the kernels of common problems into the user's cache, from which later processes load them.

    The models of the zoo are trained, tested and asked on two batches of noise the size of MNIST's images, and the public
    calls are made once for each direction.  What is in the cache already takes hundredths of a second.

    Parameters
    ----------
    models : name or names of the zoo, optional
        None: all of them; an empty sequence: only the public calls.
    dtypes : names of dtypes, "float32" or "float64"
    progress : bool
        Show a bar, where standard error is a terminal.
    target : "cpu" or "cuda"
        "cpu", the default, or "cuda": the kernels of public calls and of the models trained on MNIST, compiled on any machine,
        by as many processes as it has cores.  They may be carried with the cache folder to the machine that runs them.
    arch : name or names of architectures, such as "sm_80" or "sm_90a"
        Of GPUs; None: that of the first one here.
    precisions : some of "fp32", "tf32", "bf16" and "fp16"
        Of the products on a GPU.

    Raises
    ------
    ArgumentError
        A model, a dtype, … that does not exist.
    TargetUnavailableError
        What compiles kernels for CUDA is not installed.
    """
    if target == "cuda":
        _warm_cuda(_models(models), arch, [precisions] if isinstance(precisions, str) else list(precisions), progress)
        return
    if target not in (None, "cpu"):
        raise ArgumentError(f"target: expected cpu or cuda, got {target!r}")
    if arch is not None:
        raise ArgumentError("arch: expected None but for the target cuda")
    names, kinds = _models(models), _known("dtypes", [dtypes] if isinstance(dtypes, str) else list(dtypes), FLOATS)
    steps: list[Step] = []
    for dtype in kinds:
        steps += _calls(dtype)
        steps += [(f"{name} {dtype}", partial(_train, name, dtype)) for name in names]
    with _bar(len(steps), progress) as advance:
        for label, step in steps:
            advance(label)
            step()


def _models(asked: str | Sequence[str] | None) -> list[str]:
    """Names of models, checked; None: all."""
    from . import zoo  # with the whole of fastconv.nn: not for the sake of ``import fastconv``

    every = tuple(zoo.MODELS)
    return list(every) if asked is None else _known("models", [asked] if isinstance(asked, str) else list(asked), every)


def _known(argument: str, given: list[str], known: tuple[str, ...]) -> list[str]:
    for name in given:
        if name not in known:
            raise ArgumentError(f"{argument}: expected names among {', '.join(known)}, got {name!r}")
    return given


def _warm_cuda(models: list[str], arch: Any, precisions: list[str], progress: bool) -> None:
    """Build the kernels of models and public calls, found by rehearsing these."""
    from . import warming_cuda
    from .functional import rehearsal

    for precision in precisions:
        Settings(precision=precision).checked()
    names = rehearsal.architectures(arch)
    found: dict[tuple[Any, str], str] = {}
    for label, call in warming_cuda.steps(models, precisions):
        for name in names:
            found |= {(kernel, name): f"{label}, {name}" for kernel in rehearsal.rehearse(call, name)}
    labels = list(found.values())
    with rehearsal.building(list(found)) as built, _bar(len(found), progress) as advance:
        for place in built:
            advance(labels[place])


def _calls(dtype: str) -> Iterator[Step]:
    """The public calls, in the shapes that choose each of the kernels."""
    images, many = np.zeros((2, 1, 28, 28), dtype), np.zeros((2, 32, 28, 28), dtype)
    for x, channels, size in ((images, 6, 5), (images, 32, 3), (many, 64, 3), (many, 64, 1)):
        weight = np.zeros((channels, x.shape[1], size, size), dtype)
        bias, grad = np.zeros(channels, dtype), np.zeros((2, channels, 28, 28), dtype)
        padding = size // 2
        label = f"conv2d {x.shape[1]} to {channels} channels, {size}x{size}, {dtype}"
        yield label, partial(functional.conv2d, x, weight, bias, padding=padding)
        backward = functional.conv2d_backward_input, functional.conv2d_backward_weight
        yield f"{label}, gradient of the input", partial(backward[0], grad, weight, x.shape, padding=padding)
        yield f"{label}, gradient of the weight", partial(backward[1], grad, x, weight.shape, padding=padding)
    yield f"max_pool2d {dtype}", partial(functional.max_pool2d, many, 2)
    yield f"avg_pool2d {dtype}", partial(functional.avg_pool2d, many, 2)
    for M, N, K in ((256, 256, 256), (300, 400, 200)):
        yield f"matmul {M}x{N}x{K} {dtype}", partial(functional.matmul, np.zeros((M, K), dtype), np.zeros((K, N), dtype))
    yield f"linear {dtype}", partial(functional.linear, np.zeros((128, 784), dtype), np.zeros((10, 784), dtype))


def _train(name: str, dtype: str) -> None:
    """Two batches of noise, the second one smaller, through all that a model does: of bytes, and of its own dtype."""
    from . import zoo

    recipe = zoo.RECIPES[name]
    model: Sequential = zoo.build(name, dtype=dtype)
    model.compile(recipe.make_optimizer(), "sparse_categorical_crossentropy", ["accuracy"])
    batch_size = SMALL_BATCH if model.parameter_count > LARGE_MODEL else recipe.batch_size
    count = batch_size + batch_size // 2
    x = np.random.default_rng(0).integers(0, 256, (count, 1, 28, 28), np.uint8)
    y = np.arange(count) % 10
    for images in (x, x.astype(dtype)):
        model.fit(images, y, epochs=1, batch_size=batch_size, validation_data=(images, y), verbose=0)
        model.predict(images)


@contextmanager
def _bar(steps: int, wanted: bool) -> Iterator[Callable[[str], None]]:
    """A function that says which step begins: on a bar, or nowhere."""
    if not wanted or not sys.stderr.isatty():
        yield lambda label: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns: tuple[Any, ...] = (
        TextColumn("compiling"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=steps, completed=-1)

        def advance(label: str) -> None:
            bar.update(task, advance=1, description=label)

        yield advance
