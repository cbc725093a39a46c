"""The picture of README.md: every convolution of the known networks against PyTorch, drawn by Matplotlib.

Each is a bar, its ratio on the first machine, and a dot for each other machine.
There are two of it, for GitHub's light and its dark pages.  Each holds a digest of what it shows, by which a test tells a
stale one without drawing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fastconv.bench.cases import DIRECTIONS, NETWORKS

from .families import KERNELS, TORCH, Row, mean
from .record import Runs

FOLDER = Path(__file__).with_name("pictures")
INK = {"light": "#1f2328", "dark": "#e6edf3"}
"""Of each theme: GitHub's own, on its background."""
FAINT = "#8b949e"
METHODS = {"winograd": "Winograd", "depthwise": "depthwise", "": "by the definition"}
"""A word of a kernel's name → what its bars stand for; the first that fits."""
COLOURS = {"Winograd": "#3b82f6", "depthwise": "#10b981", "by the definition": "#f59e0b"}
MARKS = "o^x"
"""Of the machines after the first."""
TITLES = {"forward": "forward", "backward_input": "gradient of the input", "backward_weight": "gradient of the weight"}


class Layer(NamedTuple):
    """A layer on one machine: PyTorch's time over ours, both in their better layout."""

    network: str
    ratio: float
    method: str


Layers = dict[str, Layer]
"""By case."""
Drawn = dict[str, dict[str, Layers]]
"""By direction and machine."""


def layers(rows: Iterable[Row]) -> Layers:
    """Network by network; a layer that occurs in several stands in the first."""
    found = {}
    for row in rows:
        times, networks = row["seconds"], [name for name in NETWORKS if name in row["occurs"]]
        ours, theirs = ([name for name in names if name in times] for names in (KERNELS, TORCH))
        if networks and ours and theirs:
            best = min(ours, key=times.__getitem__)
            kernel = row["kernels"].get(best, "")
            method = next(method for word, method in METHODS.items() if word in kernel)
            ratio = round(min(times[name] for name in theirs) / times[best], 2)
            found[row["case"]] = Layer(networks[0], ratio, method)
    return dict(sorted(found.items(), key=lambda item: NETWORKS.index(item[1].network)))


def shown(measured: Mapping[str, Runs], threads: str = "1") -> Drawn:
    """What is drawn for each direction that was measured, machine by machine."""
    found = {
        direction: {
            machine: layers(own[direction][threads]["rows"]) for machine, own in measured.items() if threads in own[direction]
        }
        for direction in DIRECTIONS
    }
    return {direction: own for direction, own in found.items() if any(own.values())}


def digest(drawn: Drawn) -> str:
    """What tells one picture from another: what it shows, and how it is drawn."""
    return hashlib.sha256(json.dumps(drawn).encode() + Path(__file__).read_bytes()).hexdigest()[:32]


def places() -> dict[str, Path]:
    """Theme → file."""
    return {theme: FOLDER / f"speed-{theme}.svg" for theme in INK}


def is_current(measured: Mapping[str, Runs]) -> bool:
    """Whether both pictures show what was measured."""
    wanted = digest(shown(measured))
    return all(place.exists() and wanted in place.read_text(encoding="utf-8") for place in places().values())


def write(measured: Mapping[str, Runs]) -> None:
    """Draw both."""
    drawn = shown(measured)
    FOLDER.mkdir(exist_ok=True)
    for theme, place in places().items():
        figure = _figure(drawn, INK[theme])
        figure.savefig(place, transparent=True, metadata={"Date": None, "Description": digest(drawn)})
        text = place.read_text(encoding="utf-8")
        place.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")


def _figure(drawn: Drawn, ink: str) -> Any:
    """A panel for each direction, one above the other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    style = {"svg.fonttype": "none", "svg.hashsalt": "fastconv", "text.color": ink, "axes.labelcolor": ink, "font.size": 10}
    style |= {"xtick.color": ink, "ytick.color": ink, "axes.edgecolor": FAINT}
    with matplotlib.rc_context(style):
        figure, panels = pyplot.subplots(len(drawn), 1, figsize=(9, 2 * len(drawn) + 0.5), squeeze=False, sharey=True)
        ratios = [1.0, *(layer.ratio for own in drawn.values() for found in own.values() for layer in found.values())]
        panels[0, 0].set_yscale("log")
        panels[0, 0].set_ylim(min(0.5, 0.9 * min(ratios)), max(2.0, 1.15 * max(ratios)))
        for panel, (direction, own) in zip(panels[:, 0], drawn.items(), strict=True):
            _panel(panel, TITLES[direction], own, ink)
        handles: list[Any] = [matplotlib.patches.Patch(color=colour, label=method) for method, colour in COLOURS.items()]
        for machine, mark in zip(list(next(iter(drawn.values()), {}))[1:], MARKS, strict=False):
            handles.append(matplotlib.lines.Line2D([], [], color=ink, marker=mark, linestyle="", markersize=3, label=machine))
        figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False)
        figure.tight_layout(rect=(0, 0.4 / figure.get_figheight(), 1, 1))
        pyplot.close(figure)
    return figure


def _panel(panel: Any, title: str, drawn: dict[str, Layers], ink: str) -> None:
    """Bars that rise from 1 where we are faster and hang from it where we are slower, and the dots of other machines."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    first, *others = drawn.values()
    own = list(first.values())
    panel.bar(
        range(len(own)),
        [layer.ratio - 1 for layer in own],
        bottom=1,
        width=0.8,
        color=[COLOURS[layer.method] for layer in own],
    )
    for other, mark in zip(others, MARKS, strict=False):
        places = [place for place, case in enumerate(first) if case in other]
        ratios = [other[case].ratio for case in first if case in other]
        panel.scatter(places, ratios, s=4, color=ink, marker=mark, linewidths=0.5, zorder=3)
    means = {machine: mean([layer.ratio for layer in found.values()]) for machine, found in drawn.items() if found}
    averages = [f"{average:.2f} on {machine}" for machine, average in means.items()]
    panel.set_title(f"{title}: PyTorch's time over ours, geometric mean {', '.join(averages)}", loc="left", fontsize=10)
    panel.yaxis.set_major_locator(FixedLocator([0.25, 0.5, 1, 2, 4, 8, 16, 32]))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    panel.grid(axis="y", color=FAINT, alpha=0.35, linewidth=0.6)
    panel.axhline(1, color=FAINT, linewidth=1)
    panel.set_axisbelow(True)
    starts = [index for index, layer in enumerate(own) if index == 0 or layer.network != own[index - 1].network]
    for start in starts[1:]:
        panel.axvline(start - 0.5, color=FAINT, alpha=0.35, linewidth=0.6)
    panel.set_xlim(-0.7, len(own) - 0.3)
    names = [own[start].network for start in starts]
    staggered = ["\n" * (number % 2) + name for number, name in enumerate(names)]  # the smallest networks stand side by side
    panel.set_xticks([(start + end - 1) / 2 for start, end in zip(starts, [*starts[1:], len(own)], strict=True)], staggered)
    panel.tick_params(axis="x", length=0, labelsize=8)
    for side in ("top", "right", "bottom"):
        panel.spines[side].set_visible(False)
