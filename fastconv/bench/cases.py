"""What is measured: the layers and products in ``shapes``, each as a case that every contestant can be asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from fastconv import zoo
from fastconv.dispatch import Conv, Kernel, Matmul, Pool, kernels
from fastconv.errors import ArgumentError
from fastconv.shapes import parse

SHAPES = Path(__file__).with_name("shapes")
NETWORKS = ("lenet5", "alexnet", "vgg16", "googlenet", "resnet50", "mobilenet")
"""The networks by whose layers the kernels are judged; files of ``shapes``."""

DIRECTIONS = ("forward", "backward_input", "backward_weight")


@dataclass(frozen=True)
class Case:
    """One thing to measure.

    Attributes
    ----------
    operator, direction : str
        As the registry has them.
    problem : Conv, Pool, Matmul, Training or Stream
        Images in NHWC; a contestant may take them in another layout.
    text : str
        The line of its file, without the count.
    occurs : tuple of (file, count)
        Where, and how often.
    packed : bool
        Whether the weights are prepared before the call.
    """

    operator: str
    direction: str
    problem: Any
    text: str
    occurs: tuple[tuple[str, int], ...] = ()
    packed: bool = False

    @property
    def depthwise(self) -> bool:
        return isinstance(self.problem, Conv) and 1 < self.problem.groups == self.problem.C


def convolution(text: str) -> Conv:
    """The convolution on a line, in NHWC."""
    return parse(text).with_layout("NHWC")


def pooling(text: str) -> Pool:
    """The pooling on a line: a convolution's words without k, "max" or "average" before them, "ceil" after them or not."""
    mode, *words = text.split()
    window = parse(" ".join(["k1", *(word for word in words if word != "ceil")]))
    try:
        return Pool(
            mode,
            *window.x_shape_nchw,
            *(window.R, window.S),
            stride=window.stride,
            padding=window.padding,
            dilation=window.dilation,
            ceil="ceil" in words,
            layout="NHWC",
        )
    except ValueError as error:
        raise ArgumentError(f"SHAPE: {error}") from None


def product(text: str) -> Matmul:
    """The matrix product on a line: MxNxK."""
    try:
        M, N, K = map(int, text.split("x"))
        return Matmul(M, N, K)
    except ValueError as error:
        raise ArgumentError(f'SHAPE: expected MxNxK, as in "64x10x128", got {text!r} ({error})') from None


@dataclass(frozen=True)
class Training:
    """Some steps of training a model of the zoo with Adam, on N images of ``shape`` each."""

    model: str
    N: int
    shape: tuple[int, ...]
    classes: int
    steps: int

    @property
    def flops(self) -> int:
        """Of a step, by the definition of what its layers compute."""
        return _work_of_a_step(self)[0]

    @property
    def bytes(self) -> int:
        """Of a step, with every array that goes from one layer to another."""
        return _work_of_a_step(self)[1]


@cache
def _work_of_a_step(training: Training) -> tuple[int, int]:
    """(flops, bytes)."""
    network = zoo.build(training.model, training.shape, training.classes).network
    computed = [noted.problem for noted in network.problems(training.N, training=True)]
    flops, moved = ([getattr(problem, name, 0) for problem in computed] for name in ("flops", "bytes"))
    return sum(flops), sum(moved)


RATE = 1e-3
"""Of Adam."""


def training(text: str) -> Training:
    """The training on a line: the model, n images, CxHxW, classes, steps."""
    try:
        model, batch, shape, classes, steps = text.split()
        found = Training(model, int(batch[1:]), tuple(map(int, shape.split("x"))), int(classes), int(steps))
    except ValueError:
        expected = 'a model, n, CxHxW, classes and steps, as in "lenet5 n64 1x28x28 10 16"'
        raise ArgumentError(f"SHAPE: expected {expected}, got {text!r}") from None
    if min(found.N, found.steps) < 1:
        raise ArgumentError(f"SHAPE: expected at least 1 image and 1 step, got {text!r}")
    try:
        zoo.build(model, found.shape, found.classes)
    except ValueError as error:
        raise ArgumentError(f"SHAPE: {error}") from error
    return found


@dataclass(frozen=True)
class Stream:
    """Something as fast as memory: a direction of an operator on images (N, H, W, C), with ``passes`` over the array."""

    operator: str
    direction: str
    N: int
    C: int
    H: int
    W: int
    passes: float
    dtype: str = "float32"

    @property
    def x_shape(self) -> tuple[int, int, int, int]:
        return self.N, self.H, self.W, self.C

    out_shape = x_shape

    @property
    def bytes(self) -> int:
        """Read once and written once; twice where the last result decides about the first."""
        return int(self.passes * prod(self.x_shape) * 4)

    @property
    def in_place(self) -> bool:
        return (self.operator, self.direction) in IN_PLACE

    @property
    def footprint(self) -> int:
        """Of all arrays: less than ``bytes`` where one is read and written, or read twice."""
        return int(ARRAYS.get((self.operator, self.direction), self.passes) * prod(self.x_shape) * 4)


IN_PLACE = {("sgd", "update"), ("adam", "update")}
"""What changes arrays rather than writing new ones."""
ARRAYS = {("sgd", "update"): 3, ("adam", "update"): 4, ("batch_norm", "forward"): 2, ("batch_norm", "backward"): 3}
"""How many arrays there are, where that is not the number of passes."""


def stream(text: str) -> Stream:
    """The stream on a line: operator, direction, n images, c channels, HxW, passes."""
    try:
        operator, direction, images, channels, size, passes = text.split()
        height, width = map(int, size.split("x"))
        found = Stream(operator, direction, int(images[1:]), int(channels[1:]), height, width, float(passes))
    except ValueError:
        expected = 'operator, direction, n, c, HxW and passes, as in "elementwise forward n64 c64 56x56 2"'
        raise ArgumentError(f"SHAPE: expected {expected}, got {text!r}") from None
    known = [line.split()[:2] for _, line in lines("stream", "memory")]  # which has them all
    if [operator, direction] not in known:
        raise ArgumentError(f"SHAPE: expected one of {', '.join(map(' '.join, known))}; got {operator} {direction}")
    return found


READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "conv": (".", convolution),
    "pool": ("pooling", pooling),
    "matmul": ("matmul", product),
    "train": ("training", training),
    "stream": ("streams", stream),
}
"""Operator → the folder of its files in ``shapes`` and what reads a line of them."""


def files(operator: str) -> list[str]:
    """The files there are for an operator."""
    return sorted(path.stem for path in (SHAPES / READERS[operator][0]).glob("*.txt"))


def lines(operator: str, file: str) -> list[tuple[int, str]]:
    """(how often it occurs, text) of each line of a file; once where the line does not say."""
    found = []
    for line in (SHAPES / READERS[operator][0] / f"{file}.txt").read_text().splitlines():
        if words := line.partition("#")[0].split():
            count, words = (int(words[0]), words[1:]) if words[0].isdecimal() else (1, words)
            found.append((count, " ".join(words)))
    return found


def with_batch(text: str, batch: int | None) -> str:
    """A line with another number of images."""
    if batch is None:
        return text
    return " ".join(f"n{batch}" if word[0] == "n" and word[1:].isdecimal() else word for word in text.split())


def cases(operator: str, direction: str, names: Iterable[str], batch: int | None = None, packed: bool = False) -> list[Case]:
    """The lines of the files ``names``, each once though it be in several of them.

    Raises
    ------
    ArgumentError
        There is no such file, or a line says nothing that can be computed.
    """
    read, known = READERS[operator][1], files(operator)
    found: dict[Any, Case] = {}
    for name in names:
        if name not in known:
            raise ArgumentError(f"networks: expected some of {', '.join(known)} for {operator}, got {name!r}")
        for count, text in lines(operator, name):
            text = with_batch(text, batch)
            problem = read(text)
            case = found.get(problem) or Case(operator, direction or problem.direction, problem, text, (), packed)
            occurs = dict(case.occurs)
            occurs[name] = occurs.get(name, 0) + count
            found[problem] = replace(case, occurs=tuple(occurs.items()))
    return list(found.values())


def running(operator: str, direction: str, problem: Any) -> list[Kernel]:
    """The CPU kernels that neither refuse nor decline ``problem``, each asked in the layout that it takes."""
    found = []
    for kernel in kernels(operator, direction):
        own = kernel.in_layout(problem)
        if kernel.target == "cpu" and not kernel.refuses(own) and not kernel.declines(own):
            found.append(kernel)
    return found
