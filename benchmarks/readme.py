"""The figures of README.md, between its markers: ``python -m benchmarks.pages`` writes them anew from ``results``.

Whatever was measured, the sentences hold: they say numbers, and leave out what has not been measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fastconv.bench.suites import SUITES
from fastconv.dispatch import OPERATORS, kernels

from . import picture, record
from .families import FAMILIES, PEAK, Family, mean

PAGE = Path(__file__).parents[1] / "README.md"
REGION = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)

Measured = dict[str, dict[str, Any]]


def compared() -> Iterator[tuple[str, Family]]:
    """The families that compare times with another library's, each with a name that stands alone."""
    base = ""
    for family in FAMILIES:
        if family.name.startswith("… "):
            name = f"{base.partition(', against')[0]}, {family.name[2:]}"
        else:
            name = base = family.name
        if family.unit == "seconds" and not family.ideal and family.others != (PEAK,):
            yield name, family


def by_threads(measured: Measured, family: Family) -> dict[str, dict[str, float]]:
    """The ratios for each number of threads with which the family was measured."""
    runs = measured[family.suite].items()
    return {threads: ratios for threads, run in runs if (ratios := family.ratios(run["rows"]))}


def thread_counts(measured: Measured) -> list[str]:
    return sorted({threads for runs in measured.values() for threads in runs}, key=int)


def _threads(count: str) -> str:
    return f"{count} thread{'s' * (count != '1')}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def circumstances(measured: Measured) -> list[str]:
    """Where and when, and with which versions."""
    runs = [run for own in measured.values() for run in own.values()]
    if not runs:
        return ["Nothing has been measured."]
    dates = sorted({run["date"] for run in runs})
    machines = sorted({f"{run['machine']['cpu']} ({run['machine']['lanes']} float32 lanes)" for run in runs})
    versions = {
        f"{name} {run['versions'][name]}" for run in runs for name in ("torch", "numpy", "numba") if name in run["versions"]
    }
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return [f"Measured {when} on {' and '.join(machines)} with {', '.join(sorted(versions))}."]


def shown(measured: Measured) -> list[str]:
    """The picture, for both themes."""
    light, dark = (picture.places()[theme].relative_to(PAGE.parent).as_posix() for theme in ("light", "dark"))
    alternative = "PyTorch's time over fastconv's on one thread, a bar for each convolution of known networks"
    return [
        "<picture>",
        f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">',
        f'<img alt="{alternative}" src="{light}">',
        "</picture>",
    ]


def speed(measured: Measured) -> list[str]:
    """Every family: the geometric mean of the ratios, the least and the most."""
    counts, rows = thread_counts(measured), []
    for name, family in compared():
        found = by_threads(measured, family)
        cells = []
        for threads in counts:
            values = list(found.get(threads, {}).values())
            spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
            cells.append(f"**{mean(values):.2f}**{spread}" if values else "")
        if found:
            rows.append([name, str(max(map(len, found.values()))), *cells])
    return _table(["the other's time over ours", "problems", *map(_threads, counts)], rows)


def slower(measured: Measured) -> list[str]:
    """Every family in which another library is faster on some problem, and on which most."""
    counts, rows = thread_counts(measured), []
    for name, family in compared():
        found = by_threads(measured, family)
        below = {threads: sum(ratio < 1 for ratio in ratios.values()) for threads, ratios in found.items()}
        if not any(below.values()):
            continue
        ratio, case, threads = min((ratio, case, threads) for threads, own in found.items() for case, ratio in own.items())
        cells = [f"{below[threads]} of {len(found[threads])}" if threads in found else "" for threads in counts]
        rows.append([name, *cells, f"{ratio:.2f}, `{case}`, {_threads(threads)}"])
    if not rows:
        return ["On no problem that was measured."]
    return _table(["slower than the other", *map(_threads, counts), "at worst"], rows)


def sources(measured: Measured) -> list[str]:
    """The papers that the kernels follow."""
    found = {source for entry in OPERATORS for kernel in kernels(*entry) for source in kernel.source.split("; ")}
    return [f"- {source}" for source in sorted(found - {""})]


REGIONS: dict[str, Callable[[Measured], list[str]]] = {
    "circumstances": circumstances,
    "picture": shown,
    "speed": speed,
    "slower": slower,
    "sources": sources,
}
"""What stands between the markers of README.md, by their name."""


def measurements() -> Measured:
    """Of every suite, by the number of threads."""
    return {name: record.read(name) for name in SUITES}


def page(text: str, measured: Measured) -> str:
    """``text`` with what belongs between its markers."""
    return REGION.sub(lambda found: f"{found[1]}\n" + "\n".join(REGIONS[found[2]](measured)) + f"\n\n{found[3]}", text)


def write() -> None:
    """Write the page, and draw its picture if it shows something else."""
    measured = measurements()
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), measured), encoding="utf-8")
    if not picture.is_current(measured):
        picture.write(measured)
