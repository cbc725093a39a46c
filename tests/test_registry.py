"""Choosing from a ranked table, and what every table of the package must be."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fastconv import dispatch
from fastconv_kernels.registry import TARGETS, Kernel, Refused, objections, select


def kernel(algorithm: str, target: str = "cpu", **about: Any) -> Kernel:
    return Kernel("conv", "forward", algorithm, target, lambda problem, threads: None, **about)


def odd(problem: Any) -> tuple[str, ...]:
    return ("it is odd",) if problem % 2 else ()


def large(problem: Any) -> tuple[str, ...]:
    return ("it is large",) if problem > 100 else ()


RANKED = [
    kernel("picky", refuses=odd),
    kernel("small", declines=large),
    kernel("rough", accuracy=8.0, refuses=lambda problem: ("it is 7",) if problem in (7, 201) else ()),
    kernel("rougher", accuracy=9.0, refuses=lambda problem: ("it is not large",) if problem < 200 else ()),
    kernel("reference", "numpy"),
]


@pytest.mark.parametrize(
    ("problem", "request_", "chosen"),
    [
        (2, {}, "picky"),
        (3, {}, "small"),
        (101, {}, "rough"),
        (101, {"accuracy": "exact"}, "reference"),
        (101, {"accuracy": "precise"}, "rough"),
        (201, {"accuracy": "fast"}, "rougher"),
        (201, {"accuracy": "precise"}, "reference"),
        (101, {"algorithm": "small"}, "small"),
        (2, {"target": "numpy"}, "reference"),
        (3, {"target": "cpu", "algorithm": "rough"}, "rough"),
    ],
)
def test_the_first_that_takes_it(problem: int, request_: dict[str, str], chosen: str) -> None:
    assert select(RANKED, problem, **request_).algorithm == chosen


@pytest.mark.parametrize(
    ("problem", "request_", "reasons"),
    [
        (3, {"algorithm": "picky"}, ["picky_cpu: it is odd", "small_cpu: algorithm is picky"]),
        (7, {"algorithm": "rough"}, ["rough_cpu: it is 7"]),
        (4, {"algorithm": "rough", "accuracy": "exact"}, ["rough_cpu: accuracy", "8 times"]),
        (4, {"target": "cuda"}, ["picky_cpu: target is cuda", "reference_numpy: target is cuda"]),
    ],
)
def test_a_request_never_falls_back(problem: int, request_: dict[str, str], reasons: list[str]) -> None:
    with pytest.raises(Refused) as raised:
        select(RANKED, problem, **request_)
    for reason in reasons:
        assert reason in str(raised.value)
    assert str(raised.value).count("\n") == len(RANKED), "a kernel's objections are missing"


def test_objections_name_everything_against() -> None:
    both = kernel("both", refuses=lambda problem: ("one", "two"))
    assert objections(both, 1) == ("one", "two")
    assert objections(RANKED[1], 101) == ("it is large",)
    assert objections(RANKED[1], 101, algorithm="small") == ()


def test_the_least_prediction_wins() -> None:
    def predicting(algorithm: str, nanoseconds: float, **about: Any) -> Kernel:
        return kernel(algorithm, work=lambda problem: {"pieces": problem}, costs={"pieces": nanoseconds}, **about)

    slow, quick, silent = predicting("slow", 3.0), predicting("quick", 2.0), kernel("silent")
    assert slow.predicted(10) == pytest.approx(30e-9)
    assert silent.predicted(10) is None
    assert select([slow, quick, silent], 10) is quick
    assert select([slow, silent, quick], 10, algorithm="slow") is slow
    assert select([silent, quick], 10) is silent, "one that predicts nothing wins by standing first"
    assert select([predicting("picky", 1.0, refuses=odd), predicting("small", 1.5, declines=large), slow], 101) is slow


def test_what_was_prepared_is_not_counted() -> None:
    costs = {"pieces": 1.0, "filters": 1.0, "calls": 1.0, "runs": 1.0}
    packs = kernel("packs", work=lambda problem: {"pieces": 10, "filters": 30, "calls": 1, "runs": 1}, costs=costs)
    plain = kernel("plain", work=lambda problem: {"pieces": 20, "calls": 1, "runs": 1}, costs=costs)
    assert packs.predicted(1, prepared=True) == pytest.approx(11e-9)
    assert select([packs, plain], 1) is plain
    assert select([packs, plain], 1, prepared=True) is packs


def test_a_change_of_layout_is_part_of_the_prediction() -> None:
    costs = {"pieces": 1.0, "converted": 0.5}
    other = kernel("other", layout="NHWC", work=lambda problem: {"pieces": 100}, costs=costs)
    problem = dispatch.Conv(1, 2, 3, 3, 4, 1, 1)
    images = 4 * (2 * 9 + 4 * 9)
    assert problem.image_bytes == images
    assert other.predicted(problem) == pytest.approx((100 + images / 2) * 1e-9)
    assert other.predicted(problem.with_layout("NHWC")) == pytest.approx(100e-9)


TABLES = [pytest.param(*entry, id="_".join(entry)) for entry in dispatch.OPERATORS]


@pytest.mark.parametrize(("operator", "direction"), TABLES)
def test_tables_are_well_formed(operator: str, direction: str) -> None:
    ranked = dispatch.kernels(operator, direction)
    for member in ranked:
        assert (member.operator, member.direction) == (operator, direction), f"{member.name} stands in another's table"
        assert member.target in TARGETS
        assert member.accuracy >= 1.0
        assert re.fullmatch(r"[A-Z].*\.", member.summary), f"{member.name} does not say in a sentence what its idea is"
        assert re.fullmatch(r"[a-z0-9_]+__[a-z0-9_]+_(cpu|cuda|numpy)", member.name)
        assert not re.search(r"fast|v\d|__\d", member.name), "a name says what and how, never how well"
    names = [member.name for member in ranked]
    assert len(set(names)) == len(names)
    last = ranked[-1]
    assert (last.algorithm, last.target, last.accuracy, last.layout) == ("reference", "numpy", 1.0, None)
    assert [member.target for member in ranked].count("numpy") == 1
