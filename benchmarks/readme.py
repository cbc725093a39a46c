"""The figures of README.md, between its markers: ``python -m benchmarks.pages`` writes them anew from ``results``.

Whatever was measured, the sentences hold: they say numbers, and leave out what has not been measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from fastconv.dispatch import OPERATORS, kernels

from . import picture, record
from .families import CEILINGS, FAMILIES, Family, mean
from .record import Runs

PAGE = Path(__file__).parents[1] / "README.md"
REGION = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)

Measured = dict[str, Runs]
"""By machine."""
Column = tuple[str, str]
"""A machine and a number of threads."""


def compared() -> Iterator[tuple[str, Family]]:
    """The families that compare times with another library's, each with a name that stands alone."""
    base = ""
    for family in FAMILIES:
        if family.name.startswith("… "):
            name = f"{base.partition(', against')[0]}, {family.name[2:]}"
        else:
            name = base = family.name
        if family.unit == "seconds" and not family.ideal and family.others not in CEILINGS:
            yield name, family


def by_column(measured: Measured, family: Family) -> dict[Column, dict[str, float]]:
    """The ratios on each machine for each number of threads with which the family was measured."""
    return {
        (machine, threads): ratios
        for machine, runs in measured.items()
        for threads, run in runs[family.suite].items()
        if (ratios := family.ratios(run["rows"]))
    }


def columns(measured: Measured) -> list[Column]:
    """Machine by machine."""
    counts = {(machine, threads) for machine, own in measured.items() for runs in own.values() for threads in runs}
    return sorted(counts, key=lambda column: (column[0], int(column[1])))


def _named(column: Column) -> str:
    machine, count = column
    return f"{machine}, {count} thread{'s' * (count != '1')}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def circumstances(measured: Measured) -> list[str]:
    """Where and when, and with which versions."""
    by_machine = {machine: [run for runs in own.values() for run in runs.values()] for machine, own in measured.items()}
    said = []
    for machine, runs in by_machine.items():
        dates = sorted({run["date"] for run in runs})
        when = " to ".join(dict.fromkeys((dates[0], dates[-1])))
        said.append(f"{when} on {machine} ({runs[0]['machine']['lanes']} float32 lanes)")
    versions = {
        f"{name} {run['versions'][name]}"
        for runs in by_machine.values()
        for run in runs
        for name in ("torch", "numpy", "numba")
        if name in run["versions"]
    }
    return [f"Measured {' and '.join(said)} with {', '.join(sorted(versions))}." if said else "Nothing has been measured."]


def shown(measured: Measured) -> list[str]:
    """The picture, for both themes."""
    light, dark = (picture.places()[theme].relative_to(PAGE.parent).as_posix() for theme in ("light", "dark"))
    alternative = "PyTorch's time over fastconv's on one thread, for each convolution of known networks"
    return [
        "<picture>",
        f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">',
        f'<img alt="{alternative}" src="{light}">',
        "</picture>",
    ]


def speed(measured: Measured) -> list[str]:
    """Every family: the geometric mean of the ratios, the least and the most."""
    heads, rows = columns(measured), []
    for name, family in compared():
        found = by_column(measured, family)
        cells = []
        for column in heads:
            values = list(found.get(column, {}).values())
            spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
            cells.append(f"**{mean(values):.2f}**{spread}" if values else "")
        if found:
            rows.append([name, str(max(map(len, found.values()))), *cells])
    return _table(["the other's time over ours", "problems", *map(_named, heads)], rows)


def slower(measured: Measured) -> list[str]:
    """Every family in which another library is faster on some problem, and on which most."""
    heads, rows = columns(measured), []
    for name, family in compared():
        found = by_column(measured, family)
        below = {column: sum(ratio < 1 for ratio in ratios.values()) for column, ratios in found.items()}
        if not any(below.values()):
            continue
        ratio, case, column = min((ratio, case, column) for column, own in found.items() for case, ratio in own.items())
        cells = [f"{below[each]} of {len(found[each])}" if each in found else "" for each in heads]
        rows.append([name, *cells, f"{ratio:.2f}, `{case}`, {_named(column)}"])
    if not rows:
        return ["On no problem that was measured."]
    return _table(["slower than the other", *map(_named, heads), "at worst"], rows)


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


def page(text: str, measured: Measured) -> str:
    """``text`` with what belongs between its markers."""
    return REGION.sub(lambda found: f"{found[1]}\n" + "\n".join(REGIONS[found[2]](measured)) + f"\n\n{found[3]}", text)


def write() -> None:
    """Write the page, and draw its picture if it shows something else."""
    measured = record.measurements()
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), measured), encoding="utf-8")
    if not picture.is_current(measured):
        picture.write(measured)
