"""Tables, as HTML: each can be sorted by a tap on a heading."""

from __future__ import annotations

from html import escape
from math import ceil
from typing import Any

from .facts import GPU, Row, best, by_suite, kernel, mean, on_gpu, ours, ratios, share, transfer, work
from .words import TITLES


def table(head: list[str], lines: list[list[str]]) -> str:
    """A table that scrolls by itself where it is wider than the page."""
    headings = "".join(f'<th><button type="button">{escape(cell)}</button></th>' for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in lines)
    return f'<div class="table"><table><thead><tr>{headings}</tr></thead><tbody>{body}</tbody></table></div>'


def _compared(session: dict[str, Any]) -> dict[tuple[str, int, str], list[float]]:
    """(suite, threads, peer) → the ratios."""
    found: dict[tuple[str, int, str], list[float]] = {}
    for suite, own in by_suite(session["rows"]).items():
        for row in own:
            for peer, ratio in ratios(row).items():
                found.setdefault((suite, row["threads"], peer), []).append(ratio)
    return found


def headlines(session: dict[str, Any]) -> str:
    """A large number for each suite: the geometric mean against the first peer, on the most threads."""
    found, tiles = _compared(session), []
    for suite in dict.fromkeys(suite for suite, _, _ in found):
        own = {(threads, peer): values for (name, threads, peer), values in found.items() if name == suite}
        most = max(threads for threads, _ in own)
        peer, values = next((peer, values) for (threads, peer), values in own.items() if threads == most)
        text = f"<b>{mean(values):.2f} ×</b><span>{escape(TITLES.get(suite, suite))}</span><small>{escape(peer)}</small>"
        tiles.append(f'<div class="tile">{text}</div>')
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def overview(session: dict[str, Any]) -> str:
    """How each suite compares with each peer."""
    found = _compared(session)
    lines = [
        [
            *(TITLES.get(suite, suite), peer, f"{mean(values):.2f}", f"{min(values):.2f}", f"{max(values):.2f}"),
            *(f"{sum(value < 1 for value in values)} of {len(values)}", str(threads)),
        ]
        for (suite, threads, peer), values in found.items()
    ]
    head = ["times as long as ours", "against", "geomean", "least", "most", "slower on", "threads"]
    return table(head, lines) if lines else ""


def rows(own: list[Row]) -> str:
    """A suite's rows."""
    peers = list(dict.fromkeys(peer for row in own for peer in ratios(row)))
    lines = []
    for row in own:
        rate, _ = work(row)
        roof, others = share(row), ratios(row)
        name = best(row)
        lines.append(
            [
                row["case"],
                str(row["threads"]),
                kernel(row),
                f"{ours(row)[name] * 1e6:.1f}",
                f"{row['least'][name] * 1e6:.1f}",
                f"{row['spread'][name]:.0%}",
                f"{rate:.1f}" if rate else "",
                "" if roof is None else f"{roof:.0%}",
                *(f"{others[peer]:.2f}" if peer in others else "" for peer in peers),
                row.get("disturbed", ""),
            ]
        )
    unit = work(own[0])[1]
    head = [
        "problem",
        "threads",
        "kernel",
        "median, µs",
        "least, µs",
        "spread",
        unit,
        "of the roof",
        *(f"× {peer}" for peer in peers),
        "",
    ]
    return f"<details><summary>All rows</summary>{table(head, lines)}</details>"


GPU_ROOF = "GPU's roof"
"""Seconds that a row takes at least on the GPU."""


def devices(session: dict[str, Any]) -> str:
    """What was measured on the CPU and on a GPU, and when it pays to go there."""
    lines = []
    for row in session["rows"]:
        gpu = on_gpu(row)
        if gpu is not None and not best(row).startswith(GPU):
            cpu, way = ours(row)[best(row)], transfer(row)
            lines.append(
                [
                    *(
                        row["suite"],
                        row["case"],
                        str(row["threads"]),
                        f"{cpu * 1e6:.1f}",
                        f"{gpu * 1e6:.1f}",
                        f"{cpu / gpu:.2f}",
                        f"{row[GPU_ROOF] / gpu:.0%}" if GPU_ROOF in row else "",
                    ),
                    "" if way is None else f"{way * 1e6:.1f}",
                    "" if way is None else _calls(way, cpu, gpu),
                ]
            )
    head = [
        "suite",
        "problem",
        "threads",
        "CPU, µs",
        "GPU, µs",
        "CPU over GPU",
        "of the GPU's roof",
        "there and back, µs",
        "calls until it pays",
    ]
    return table(head, lines) if lines else ""


def _calls(way: float, cpu: float, gpu: float) -> str:
    """On the same arrays, until the time that a GPU saves is more than their way there and back."""
    return str(max(1, ceil(way / (cpu - gpu)))) if gpu < cpu else "never"


def circumstances(session: dict[str, Any]) -> str:
    """Date, machine and versions."""
    facts = {"date": session["date"], **session["machine"], **session["versions"]}
    peaks = session.get("GFLOP/s", {}).items()
    facts |= {f"multiply-adds, {threads} thread(s)": f"{rate:.0f} GFLOP/s" for threads, rate in peaks}
    for threads, rates in session["GB/s"].items():
        facts |= {f"copying, {place}, {threads} thread(s)": f"{rate:.0f} GB/s" for place, rate in rates.items()}
    if gpu := session.get("GPU"):
        facts |= {f"GPU, {name}": f"{rate / 1e3:.1f} TFLOP/s" for name, rate in gpu["GFLOP/s"].items()}
        facts["GPU, copying"] = f"{gpu['GB/s']:.0f} GB/s"
    return table(["what", "value"], [[str(name), str(value)] for name, value in facts.items()])
