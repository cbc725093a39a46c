"""What the pages say is true for this tree."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import processes
from benchmarks import catalogue, picture, readme, record, results
from fastconv.bench.suites import SUITES

README = readme.PAGE.read_text(encoding="utf-8")
STALE = "stale: run python -m benchmarks.pages"
FIGURE = re.compile(r"\d+[.,]\d+(?!\d|\.\d)|\d+ ?(?:%|×|GFLOP|GB/s|[mµ]?s\b|times\b|seconds|minutes|hours|images/s|x\b)")
"""A measured number: decimals, or what is followed by a unit."""
NO_FIGURES = "Python 3.11", "1,797 handwritten digits"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_catalogue_of_kernels_is_current() -> None:
    assert catalogue.PAGE.read_text() == catalogue.page(), STALE


def test_results_are_those_of_the_measurements() -> None:
    pages = results.pages()
    assert results.PAGE in pages
    for place, text in pages.items():
        assert place.read_text(encoding="utf-8") == text, STALE


def test_first_commands_install_and_test() -> None:
    install, test = blocks("bash")[:2]
    assert install == "python -m pip install . && fastconv train\n"
    assert test == 'python -m pip install ".[test]" && python -m pytest -n auto\n'


def test_figures_of_the_readme_are_those_of_the_measurements() -> None:
    measured = record.measurements()
    assert readme.page(README, measured) == README, STALE
    assert picture.is_current(measured), STALE
    assert set(readme.REGIONS) == {name for _, name, _ in readme.REGION.findall(README)}, "each stands somewhere"


def test_no_figure_of_the_readme_stands_outside_of_markers() -> None:
    assert FIGURE.findall("takes 1.48, 91% or 5 ms, twice 2 times 3x") == ["1.48", "91%", "5 ms", "2 times", "3x"]
    written = readme.REGION.sub("", README)
    for text in NO_FIGURES:
        written = written.replace(text, "")
    assert FIGURE.findall(written) == []


def test_pages_say_whatever_was_measured() -> None:
    """Nothing at all, and rows on which everything is as fast as the other."""
    assert "Nothing has been measured." in readme.page(README, {})
    times = dict.fromkeys(("fastconv NHWC", "torch NCHW"), 1.0)
    row = {"case": "c", "occurs": {"vgg16": 1}, "seconds": times, "kernels": {}, "flops": 1, "peak": 1.0}
    run = {"date": "2026-01-01", "machine": {"cpu": "one", "lanes": 8}, "versions": {"torch": "3"}, "rows": [row]}
    made = readme.page(README, {"one": {name: {} for name in SUITES} | {"forward": {"4": run}}})
    assert "Measured 2026-01-01 on one (8 float32 lanes) with torch 3." in made
    assert "| the other's time over ours | problems | one, 4 threads |" in made
    assert "| convolution forward | 1 | **1.00** |" in made
    assert "On no problem that was measured." in made


@pytest.mark.parametrize("example", blocks("python"), ids=["primitive", "train"])
def test_examples_run(example: str) -> None:
    assert processes.run(example + "\nprint(0)", FASTCONV_DATA="", FASTCONV_OFFLINE=1) == 0


@pytest.mark.parametrize("example", blocks("bash")[2:4], ids=["measure", "train"])
def test_commands_run(example: str, tmp_path: Path) -> None:
    command = tmp_path / "bin" / "fastconv"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fastconv "$@"\n')
    command.chmod(0o755)
    paths = os.pathsep.join(map(str, processes.PATHS)), os.pathsep.join([str(command.parent), os.environ["PATH"]])
    environment = os.environ | {"PYTHONPATH": paths[0], "PATH": paths[1], "FASTCONV_DATA": "", "FASTCONV_OFFLINE": "1"}
    done = subprocess.run(["sh", "-euc", example], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
