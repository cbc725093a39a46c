"""``fastconv tune``."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fastconv import dispatch, shapes, tuning, winners
from fastconv.dispatch import Settings
from fastconv.errors import ArgumentError

from . import models
from .report import check_json, versions, write_json
from .tools import DIRECTIONS

Problem = tuple[str, str, Any]


def tune(arguments: Namespace) -> None:
    """Measure the algorithms for the shapes or a model's layers, keep the winners, and print what each gained."""
    problems = Counter(_of_model(arguments) if arguments.model else _problems(arguments))
    Settings(threads=arguments.threads).checked()
    if arguments.json:
        check_json(arguments.json)
    file = winners.check_writable(dispatch.tuning_file())
    print(f"{len(problems)} problem(s); the winners go to {file}", flush=True)
    rows = []
    try:
        for found in tuning.tune(problems, arguments.threads, arguments.accuracy):
            rows.append(found)
            print(_line(found), flush=True)
    finally:  # what was measured until an interruption is in the table, and in the JSON
        if arguments.json:
            entries = [{"problem": found.key, "before": found.before, "seconds": found.seconds} for found in rows]
            write_json(arguments.json, {"versions": versions(), "rows": entries})
    alone = len(problems) - len(rows)
    better = sum(found.winner != found.before for found in rows)
    print(f"{len(rows)} measured, {better} of them now with another kernel" + (f"; {alone} had no choice" if alone else ""))
    if rows:
        print(_gain(rows, problems))


def _gain(rows: list[tuning.Tuned], times: Mapping[Problem, int]) -> str:
    """What all of them took and take, each as often as it occurs."""
    counts = [times[found.operator, found.direction, found.problem] for found in rows]
    before, after = (
        sum(count * found.seconds[name] for count, found, name in zip(counts, rows, names, strict=True))
        for names in ([found.before for found in rows], [found.winner for found in rows])
    )
    return f"all together: {before * 1e3:.3f} ms → {after * 1e3:.3f} ms, {before / after:.2f} times as fast"


def _line(found: tuning.Tuned) -> str:
    times = ", ".join(f"{algorithm} {seconds * 1e6:,.0f} µs" for algorithm, seconds in found.seconds.items())
    gain = f"{found.before} → {found.winner}: {found.gain:.2f}x" if found.winner != found.before else f"{found.winner} stays"
    return f"{found.operator} {found.direction} {_written(found.problem)}: {times}; {gain}"


def _written(problem: Any) -> str:
    if isinstance(problem, dispatch.Matmul):
        return f"{problem.M}x{problem.N}x{problem.K}"
    return shapes.written(problem.conv if isinstance(problem, dispatch.ConvPool) else problem)


def _of_model(arguments: Namespace) -> Iterator[Problem]:
    """What the layers of the command's model have computed, as far as kernels can be measured for it."""
    if arguments.shape or arguments.shapes:
        raise ArgumentError("--model: expected no SHAPE and no --shapes beside it")
    training = arguments.training or arguments.direction not in (None, "forward")
    for _, operator, direction, problem in models.named(arguments.model).network.problems(arguments.batch, training):
        if tuning.tunable(operator, direction) and arguments.direction in (None, direction):
            yield operator, direction, problem


def _problems(arguments: Namespace) -> Iterator[Problem]:
    """Those of the command's shapes and file, in each of its directions."""
    texts = [("SHAPE", text) for text in arguments.shape]
    if arguments.shapes:
        texts += _lines(Path(arguments.shapes))
    if not texts:
        raise ArgumentError('SHAPE: expected at least one, as "n16 c64 56x56 k64 3x3 p1", or --shapes FILE, or --model NAME')
    for where, text in texts:
        try:
            problem = shapes.parse(text)
        except ArgumentError as error:
            raise ArgumentError(f"{where}: {str(error).removeprefix('SHAPE: ')}") from error
        for direction in (arguments.direction,) if arguments.direction else DIRECTIONS:
            yield "conv", direction, problem


def _lines(path: Path) -> list[tuple[str, str]]:
    """(where it stands, text) of every line that is not empty; # begins a comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f"--shapes: {path} cannot be read, {error}") from error
    found = [(f"{path}:{number}", line.partition("#")[0].strip()) for number, line in enumerate(lines, 1)]
    return [(where, text) for where, text in found if text]
