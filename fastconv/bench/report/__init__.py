"""A session as one page that needs nothing beside it: what it says in words, pictures, tables to sort, the circumstances."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from importlib.util import find_spec
from string import Template
from typing import Any

from fastconv.errors import ArgumentError

from . import figures, tables, words
from .facts import by_suite

Session = dict[str, Any]


def check_available() -> None:
    """Raise before the work if the page could not be made after it."""
    if not find_spec("plotly"):
        raise ArgumentError('--report: needs plotly, which is not installed: pip install "fastconv[report]"')


def page(session: Session) -> str:
    """The page of what ``fastconv bench`` has measured: HTML, with the scripts and styles that it needs inside."""
    import plotly.offline

    here = files(__package__)
    style, script = (here.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    template = Template(here.joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        style=style,
        plotly=plotly.offline.get_plotlyjs(),
        script=script,
        title=escape(f"fastconv on {session['machine']['cpu']}, {session['date']}"),
        summary="\n".join(f"<p>{escape(sentence)}</p>" for sentence in words.summary(session)),
        headlines=tables.headlines(session),
        overview=tables.overview(session),
        sections="\n".join(_sections(session)),
        circumstances=tables.circumstances(session),
    )


def _sections(session: Session) -> list[str]:
    rows = session["rows"]
    drawn = [figures.roofline(session, threads) for threads in reversed(figures.thread_counts(rows))]
    found = [("The roofline", words.ROOFLINE, drawn)]
    for suite, own in by_suite(rows).items():
        ratios = figures.ratio_chart(own)
        choice = figures.crossover(own) if figures.has_choice(own) else ""
        text = " ".join([words.RATIOS] * bool(ratios) + [words.CHOICE] * bool(choice)) or words.SHARES
        pictures = [ratios, choice] if ratios or choice else [figures.share_chart(own)]
        found.append((words.TITLES.get(suite, suite), text, [*pictures, tables.rows(own)]))
    if scaling := figures.scaling(rows):
        found.append(("Threads", words.SCALING, [scaling]))
    found.append(("CPU and GPU", words.devices(session), [tables.devices(session)]))
    return [
        f"<section><h2>{escape(title)}</h2><p>{escape(text)}</p>{''.join(filter(None, parts))}</section>"
        for title, text, parts in found
    ]
