"""A session of measuring: what is asked for, as cases of suites, and their rows as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastconv.dispatch import Settings, all_threads
from fastconv.errors import ArgumentError

from . import suites
from .cases import READERS, Case, cases, files, with_batch
from .suites import SUITES, Suite

Row = dict[str, Any]

OPERATORS: Mapping[str, Mapping[str, str]] = {
    "conv": {name: name for name in ("forward", "backward_input", "backward_weight")},
    "pool": {"forward": "pool", "backward_input": "pool_backward"},
    "matmul": {"forward": "matmul"},
    "elementwise": {"forward": "streams"},
    "train": {"forward": "training"},
}
"""What can be measured → direction → its suite."""

PEERS = {"torch": "pytorch", "numpy": "numerical", "scipy": "scientific", "cupy": "on_gpu"}
"""The package of a peer → the library that speaks for it."""

TARGETS = {"cpu": "this machine's cores", "cuda": "its GPU"}

QUICK = ("quick",)
"""The file of each operator for a quick session."""


CHOICES = "algorithms"
"""The name of the part that measures each algorithm."""
SCALED = ("forward", "matmul", "training")
"""Suites that tell how a session of everything gains from threads."""


@dataclass(frozen=True)
class Request:
    """What a session measures.

    Attributes
    ----------
    operators : tuple of str
        Some of ``OPERATORS``.
    shapes : tuple of str
        Names of files that come with fastconv, paths of others, or single shapes; none: each operator's own files.
    directions : tuple of str
        Those of each operator that has them; none: all.
    algorithm : str or None
        Ours, or "all"; None: the one that is chosen.
    targets : tuple of str
        Where ours run: "cpu", "cuda" or both.
    precision : str or None
        As in ``fastconv.use``.
    against : tuple of str
        Some of ``PEERS``; those that are not installed are left out.
    threads : tuple of int
    batch : int or None
        Images, instead of those that a shape says.
    quick : bool
        Few shapes and short samples.
    """

    operators: tuple[str, ...]
    shapes: tuple[str, ...] = ()
    directions: tuple[str, ...] = ()
    algorithm: str | None = None
    targets: tuple[str, ...] = ("cpu",)
    precision: str | None = None
    against: tuple[str, ...] = ("torch", "numpy")
    threads: tuple[int, ...] = (1,)
    batch: int | None = None
    quick: bool = False

    @property
    def missing(self) -> list[str]:
        """Peers that are not installed."""
        return [peer for peer in self.against if not find_spec(peer)]


@dataclass(frozen=True)
class Part:
    """Cases that are measured with the same contestants and threads."""

    operator: str
    name: str
    suite: Suite
    cases: list[Case]
    threads: int


def parts(request: Request) -> list[Part]:
    """What there is to measure, the whole request having been checked.

    Raises
    ------
    ArgumentError, TargetUnavailableError, UnsupportedError
        It names something that does not exist, or cannot be measured here.
    """
    _known("against", request.against, PEERS)
    _known("targets", request.targets, TARGETS)
    if (most := max(request.threads)) > all_threads():
        raise ArgumentError(f"--threads: expected at most {all_threads()}, which this machine offers, got {most}")
    for target in request.targets:
        for threads in request.threads:
            Settings(target=target, threads=threads, precision=request.precision).checked()
    found = []
    for operator in request.operators:
        suites_of = OPERATORS[operator]
        for direction in [each for each in suites_of if not request.directions or each in request.directions]:
            suite = _contesting(SUITES[suites_of[direction]], request)
            wanted = _cases(suite, operator, request)
            found += [Part(operator, suites_of[direction], suite, wanted, threads) for threads in request.threads]
    if len(request.operators) > 1 and "cpu" in request.targets:
        found += [*_choices(found, request), *_alone(found, request)]
    if not found:
        raise ArgumentError(f"--direction: {' and '.join(request.operators)} has no {' or '.join(request.directions)}")
    return found


def _choices(found: Sequence[Part], request: Request) -> list[Part]:
    """Each algorithm that could be chosen for the convolutions of a session of everything, forward."""
    parts = [part for part in found if part.name == "forward" and part.threads == max(request.threads)]
    return [] if request.algorithm else [replace(part, name=CHOICES, suite=suites.choices(part.suite)) for part in parts]


def _alone(found: Sequence[Part], request: Request) -> list[Part]:
    """Ours on one thread, where a session of everything has none: what the others gain."""
    if 1 in request.threads or request.algorithm:
        return []
    measured = [part for part in found if part.name in SCALED and part.threads == max(request.threads)]
    return [replace(part, suite=suites.only_kernels(part.suite), threads=1) for part in measured]


def rows(part: Part, quick: bool) -> Iterator[Row]:
    """A row for each case, measured as it is asked for."""
    rounds, seconds = (3, 0.01) if quick else (5, 0.03)
    for row in suites.rows(part.cases, part.suite, part.threads, rounds, seconds):
        yield {"suite": part.name, "threads": part.threads, **row}


def _known(name: str, asked: Sequence[str], known: Mapping[str, object]) -> None:
    for each in asked:
        if each not in known:
            raise ArgumentError(f"--{name}: expected some of {', '.join(known)}, got {each!r}")


def _contesting(suite: Suite, request: Request) -> Suite:
    """The suite with our kernels and the peers that are asked for, PyTorch with an allocator that keeps memory alone."""
    suite = suites.without_default_malloc(suite)
    if request.algorithm:
        suite = suites.with_algorithm(suite, request.algorithm)
    if "cuda" in request.targets:
        suite = suites.with_device(suite, request.precision)
    absent = {library for peer, library in PEERS.items() if peer not in request.against or peer in request.missing}
    absent |= set() if "cpu" in request.targets else {"ours"}
    return replace(suite, contestants=tuple(each for each in suite.contestants if each.library not in absent))


def _cases(suite: Suite, operator: str, request: Request) -> list[Case]:
    """Of the files and shapes that are asked for."""
    if not request.shapes:
        names = QUICK if request.quick else suite.files
        return cases(suite.operator, suite.direction, names, request.batch)
    found: list[Case] = []
    for shape in request.shapes:
        if Path(shape).is_file():
            found += _of_file(Path(shape), suite, request.batch)
        elif " " in shape or (operator == "matmul" and "x" in shape):
            found.append(_of_text(shape, suite, request.batch))
        elif shape in files(suite.operator):
            found += cases(suite.operator, suite.direction, [shape], request.batch)
        else:
            expected = f"a file, a shape in quotes, or some of {', '.join(files(suite.operator))} for {operator}"
            raise ArgumentError(f"--shapes: expected {expected}; got {shape!r}")
    return list({case.problem: case for case in found}.values())


def _of_file(path: Path, suite: Suite, batch: int | None) -> list[Case]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f"--shapes: {path} cannot be read, {error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if words and words[0].isdecimal():  # how often it occurs
            words = words[1:]
        if words:
            try:
                found.append(_of_text(" ".join(words), suite, batch))
            except ArgumentError as error:
                raise ArgumentError(f"--shapes: {path}:{number}: {str(error).removeprefix('SHAPE: ')}") from error
    if not found:
        raise ArgumentError(f"--shapes: {path} has no shape in it")
    return found


def _of_text(text: str, suite: Suite, batch: int | None) -> Case:
    text = with_batch(text, batch)
    problem = READERS[suite.operator][1](text)
    return Case(suite.operator, suite.direction or problem.direction, problem, text, (), suite.packed)
