"""The machinery itself: files that can be read, filters that say what is wrong, a process that measures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks import __main__ as program
from benchmarks import bounds, families
from fastconv.bench import cases, suites
from fastconv.bench.cases import convolution
from fastconv.bench.contestants import Contestant
from fastconv.bench.suites import SUITES, Suite

CONVOLUTIONS = {"lenet5": 2, "alexnet": 5, "vgg16": 13, "googlenet": 57 + 9, "resnet50": 53, "mobilenet": 27}


@pytest.mark.parametrize("name", SUITES)
def test_every_file_can_be_read(name: str) -> None:
    assert SUITES[name].cases()


@pytest.mark.parametrize(("network", "count"), CONVOLUTIONS.items())
def test_every_layer_of_a_network_is_there(network: str, count: int) -> None:
    assert sum(occurs for occurs, _ in cases.lines("conv", network)) == count


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("forwards", "SUITE: expected some of forward"),
        ("forward --networks resnet", "networks: expected some of alexnet"),
        ("forward --algorithm fft", "algorithm: expected one of all"),
        ("forward --shape c3", "SHAPE: expected k, image HxW"),
        ("pool --shape n1", "SHAPE: expected"),
        ("matmul --shape 3x4", "SHAPE: expected MxNxK"),
        ("forward --threads two", "threads: expected numbers"),
        ("forward --rounds 0", "rounds, batch: expected at least 1"),
    ],
)
def test_a_mistake_is_answered_in_one_line(words: str, message: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(suites, "rows", lambda *arguments: iter(()))
    with pytest.raises(SystemExit, match=f"^error: {message}") as raised:
        program.main(words.split())
    assert "\n" not in str(raised.value)


def test_contestants_are_verified_and_timed() -> None:
    suite = Suite("matmul", "forward", (suites.PEAK, Contestant("fastconv", "ours"), Contestant("numpy", "numerical")), ())
    case = cases.Case("matmul", "forward", cases.product("8x9x10"), "8x9x10")
    (row,) = suites.rows([case], suite, 1, 1, 1e-6)
    assert row["seconds"].keys() == {"fastconv", "numpy"}
    assert min(row["seconds"].values()) > 0
    assert row["kernels"]["fastconv"].startswith("matmul_forward__")
    assert row["flops"] == 2 * 8 * 9 * 10
    assert row["peak"] > 0
    assert "failed" not in row


def test_a_bar_is_met_by_mean_and_worst_row_alike() -> None:
    family = families.Family("", "matmul", 1.5, 1.0, ours=("fastconv",), others=("numpy",))
    rows = [{"case": str(numpy), "seconds": {"fastconv": 1.0, "numpy": numpy}} for numpy in (1.0, 4.0)]
    assert family.ratios(rows) == {"1.0": 1.0, "4.0": 4.0}
    assert family.met(family.ratios(rows))
    assert not family.met({"slow": 0.9, "fast": 9.0})
    assert not family.met({"slow": 1.0, "fast": 2.0})
    failed = {"case": "wrong", "seconds": {"numpy": 1.0}, "failed": {"fastconv": "AssertionError"}}
    assert family.ratios([failed]) == {"wrong": 0.0}


def test_the_peak_bounds_what_no_winograd_computes() -> None:
    family = families.Family("", "forward", ours=("fastconv",), others=("torch",), ideal=bounds.at_the_peak)
    row = {"case": "a", "flops": 8e9, "peak": 2.0, "seconds": {"fastconv": 5.0, "torch": 8.0}}
    assert family.ratio(row | {"kernels": {"fastconv": "conv_forward__direct_cpu"}}) == 2.0
    assert family.ratio(row | {"kernels": {"fastconv": "conv_forward__winograd_cpu"}}) == 1.6
    slower = replace(family, ideal=bounds.at_the_tile)
    assert slower.ratio(row | {"kernels": {"fastconv": "conv_forward__direct_cpu"}, "tile": 1.7}) == pytest.approx(1.7)


def test_the_fewest_products_bound_what_winograd_computes() -> None:
    row = {"direction": "forward", "peak": 2.0}
    direct, few = "n16 c64 14x14 k64 1x1", "n16 c64 16x16 k64 3x3 p1"
    flops = convolution(direct).flops, convolution(few).flops
    assert bounds.fewest_products(row | {"case": direct, "flops": flops[0]}) == pytest.approx(flops[0] / 2e9)
    assert bounds.fewest_products(row | {"case": few, "flops": flops[1]}) == pytest.approx(flops[1] / 4 / 2e9)
