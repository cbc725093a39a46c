"""Pictures of a session, drawn by Plotly."""

from __future__ import annotations

from typing import Any

from fastconv.bench.roofline import multiplies_less
from fastconv.bench.session import CHOICES

from .facts import Row, best, kernel, ours, ratios, share
from .words import TITLES

INK, GRID = "#7d8590", "rgba(128, 136, 144, 0.25)"
"""Seen on a light and on a dark page."""
COLOURS = ("#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#8b5cf6", "#ec4899", "#0ea5a4", "#a3a635", "#6366f1", "#d97757")
SYMBOLS = ("circle", "square", "triangle-up")
"""Where there are more kernels than colours."""
BAR = 22
"""Pixels of a bar with its label."""


def roofline(session: dict[str, Any], threads: int) -> str:
    """Intensity against speed: a line for each cache and for memory, a colour for each kernel."""
    rows = [row for row in session["rows"] if row["threads"] == threads and row.get("flops") and row.get("bytes")]
    rows = [row for row in rows if ours(row) and row["suite"] != CHOICES]
    if not rows:
        return ""
    peak = session.get("GFLOP/s", {}).get(str(threads)) or max(row.get("peak", 0.0) for row in rows)
    reach = [row["flops"] / row["bytes"] for row in rows]
    ends = [min(reach) / 2, max(reach) * 2]
    found = [_ceiling(place, rate, peak, ends) for place, rate in session["GB/s"][str(threads)].items()]
    by_kernel: dict[str, list[Row]] = {}
    for row in rows:
        by_kernel.setdefault(_short(row), []).append(row)
    known = sorted({_short(row) for row in session["rows"] if ours(row)})  # a kernel has one colour in all pictures
    for name, own in sorted(by_kernel.items()):
        lap, colour = divmod(known.index(name), len(COLOURS))
        found.append(_points(name, own, COLOURS[colour], SYMBOLS[lap % len(SYMBOLS)]))
    axes = {"xaxis": _axis("flop a byte", "log"), "yaxis": _axis("GFLOP/s", "log")}
    axes["xaxis"]["dtick"] = axes["yaxis"]["dtick"] = 1
    title = f"<h3>{threads} thread{'s' * (threads != 1)}, {peak:.0f} GFLOP/s at most</h3>"
    return title + _drawn(found, {"height": 600, **axes})


def _ceiling(place: str, rate: float, peak: float, ends: list[float]) -> dict[str, Any]:
    """The line beneath which all lies that comes from a cache, or from memory."""
    points = sorted({ends[0], peak / rate, ends[1]}) if ends[0] < peak / rate < ends[1] else ends
    line: dict[str, Any] = {"x": points, "y": [min(peak, rate * x) for x in points], "name": f"{place} {rate:.0f} GB/s"}
    line |= {
        "mode": "lines+text",
        "text": [f"{place}, {rate:.0f} GB/s"],
        "textposition": "top right",
        "textfont": {"size": 11},
    }
    line |= {"line": {"color": INK, "width": 1.2, "dash": "dot"}, "cliponaxis": False}
    return line | {"hoverinfo": "name", "showlegend": False}


def _short(row: Row) -> str:
    """What a row's kernel is called in a picture."""
    return "networks" if row["suite"] == "training" else kernel(row).removesuffix("_cpu")


def _points(name: str, rows: list[Row], colour: str, symbol: str) -> dict[str, Any]:
    """A kernel on all its problems; open where it multiplies less than the definition says."""
    less = [multiplies_less(row, best(row)) for row in rows]
    return {
        "x": [row["flops"] / row["bytes"] for row in rows],
        "y": [row["flops"] / ours(row)[best(row)] / 1e9 for row in rows],
        "text": [f"{row['case']}<br>{TITLES.get(row['suite'], row['suite'])}{_reached(row)}" for row in rows],
        "mode": "markers",
        "name": name,
        "marker": {
            "color": colour,
            "size": 10,
            "symbol": ["diamond-open" if each else symbol for each in less],
            "line": {"width": 2, "color": colour},
        },
        "hovertemplate": f"<b>{name}</b><br>%{{text}}<br>%{{y:.1f}} GFLOP/s<extra></extra>",
    }


def _reached(row: Row) -> str:
    reached = share(row)
    return "" if reached is None else f"<br>{reached:.0%} of its roof"


def _ratio_bars(rows: list[Row]) -> list[dict[str, Any]]:
    peers = dict.fromkeys(peer for row in rows for peer in ratios(row))
    names = [_label(row, rows) for row in rows]
    return [
        {
            "type": "bar",
            "orientation": "h",
            "y": names,
            "x": [ratios(row).get(peer) for row in rows],
            "name": f"× {peer}",
            "marker": {"color": colour},
            "text": [f"{value:.2f}" if (value := ratios(row).get(peer)) else "" for row in rows],
            "textposition": "auto",
            "customdata": [kernel(row) for row in rows],
            "hovertemplate": "%{y}<br>%{x:.2f} × with %{customdata}<extra></extra>",
        }
        for peer, colour in zip(peers, COLOURS, strict=False)
    ]


def _label(row: Row, rows: list[Row]) -> str:
    several = len({each["threads"] for each in rows}) > 1
    return f"{row['case']} · {row['threads']}T" if several else str(row["case"])


def ratio_chart(rows: list[Row]) -> str:
    """Every problem's ratio to each peer."""
    rows = [row for row in rows if ratios(row)]
    bars = _ratio_bars(rows)
    if not bars:
        return ""
    even = {"type": "line", "x0": 1, "x1": 1, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": INK, "width": 1}}
    height = 120 + BAR * len(rows) * (1 if len(bars) == 1 else 1.5)
    axes = {"xaxis": _axis("times as long as ours"), "yaxis": _categories()}
    return _drawn(bars, {"height": height, "shapes": [even], **axes})


def share_chart(rows: list[Row]) -> str:
    """How much of the roofline every problem reaches."""
    known = [(_label(row, rows), reached, kernel(row)) for row in rows if (reached := share(row)) is not None]
    if not known:
        return ""
    names, shares, kernels = zip(*known, strict=True)
    bars: dict[str, Any] = {"type": "bar", "orientation": "h", "y": names, "x": shares, "customdata": kernels}
    bars |= {"text": [f"{each:.0%}" for each in shares], "marker": {"color": COLOURS[0]}}
    bars |= {"hovertemplate": "%{y}<br>%{x:.0%} with %{customdata}<extra></extra>"}
    axes = {"xaxis": _axis("of the roof") | {"tickformat": ".0%"}, "yaxis": _categories()}
    return _drawn([bars], {"height": 120 + BAR * len(known), **axes})


def has_choice(rows: list[Row]) -> bool:
    """Whether several of our algorithms were measured."""
    return any(len({name.split()[1] for name in ours(row) if len(name.split()) > 2}) > 1 for row in rows)


def crossover(rows: list[Row]) -> str:
    """How much longer than the best each algorithm takes, problem by problem."""
    algorithms = list(dict.fromkeys(name.removeprefix("fastconv ") for row in rows for name in ours(row)))
    algorithms.sort(key=lambda name: sum(f"fastconv {name}" in ours(row) for row in rows), reverse=True)
    names = [_label(row, rows) for row in rows]
    longer = [[ours(row).get(f"fastconv {name}", float("nan")) / ours(row)[best(row)] for name in algorithms] for row in rows]
    known = [[value if value == value else None for value in line] for line in longer]
    map_: dict[str, Any] = {"type": "heatmap", "x": algorithms, "y": names, "z": known, "zmin": 1, "zmax": 3}
    map_ |= {"text": [[f"{value:.2f}" if value else "" for value in line] for line in known], "texttemplate": "%{text}"}
    map_ |= {"colorscale": "Viridis", "reversescale": True, "showscale": False, "xgap": 2, "ygap": 2}
    map_ |= {"hovertemplate": "%{y}<br>%{x}: %{z:.2f} × the best<extra></extra>"}
    return _drawn([map_], {"height": 160 + BAR * len(rows), "xaxis": _axis(""), "yaxis": _categories()})


def thread_counts(rows: list[Row]) -> list[int]:
    return sorted({row["threads"] for row in rows})


def scaling(rows: list[Row]) -> str:
    """One thread's time over that with the most."""
    counts = thread_counts(rows)
    if len(counts) < 2 or counts[0] != 1:
        return ""
    times = {(row["suite"], row["case"], row["threads"]): ours(row)[best(row)] for row in rows if ours(row)}
    pairs = [(suite, case, taken) for (suite, case, threads), taken in times.items() if threads == counts[-1]]
    found = [(suite, case, times[suite, case, 1] / taken) for suite, case, taken in pairs if (suite, case, 1) in times]
    bars = []
    for suite, colour in zip(dict.fromkeys(suite for suite, _, _ in found), COLOURS, strict=False):
        own = [(case, ratio) for name, case, ratio in found if name == suite]
        bars.append(
            {
                "type": "bar",
                "orientation": "h",
                "y": [case for case, _ in own],
                "x": [ratio for _, ratio in own],
                "text": [f"{ratio:.2f}" for _, ratio in own],
                "name": TITLES.get(suite, suite),
                "marker": {"color": colour},
            }
        )
    axes = {"xaxis": _axis(f"{counts[-1]} threads over 1"), "yaxis": _categories()}
    return _drawn(bars, {"height": 120 + BAR * len(found), **axes})


def _axis(title: str, kind: str = "-") -> dict[str, Any]:
    return {"title": {"text": title}, "type": kind, "gridcolor": GRID, "zerolinecolor": GRID, "automargin": True}


def _categories() -> dict[str, Any]:
    return {"automargin": True, "autorange": "reversed", "tickfont": {"size": 10}, "gridcolor": GRID}


def _drawn(data: list[dict[str, Any]], layout: dict[str, Any]) -> str:
    """The HTML of a figure; the page brings Plotly's script."""
    import plotly.graph_objects as go
    import plotly.io

    usual = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": INK, "size": 12},
        "margin": {"l": 10, "r": 10, "t": 10, "b": 50},
        "legend": {"orientation": "h", "y": -0.15, "yanchor": "top", "x": 0},
        "barmode": "group",
        "template": "none",
    }
    figure = go.Figure({"data": data, "layout": usual | layout})
    options = {"responsive": True, "displaylogo": False, "displayModeBar": False}
    html: str = plotly.io.to_html(figure, full_html=False, include_plotlyjs=False, config=options)
    return f'<div class="figure">{html}</div>'
