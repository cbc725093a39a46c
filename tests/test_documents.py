"""What the pages say is true for this tree."""

from __future__ import annotations

import re

import pytest

import processes
from benchmarks import catalogue, results

README = (processes.ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_catalogue_of_kernels_is_current() -> None:
    assert catalogue.PAGE.read_text() == catalogue.page(), "stale: run python -m benchmarks.catalogue"


def test_results_are_those_of_the_measurements() -> None:
    assert results.PAGE.read_text(encoding="utf-8") == results.page(), "stale: run python -m benchmarks.results"


def test_first_commands_install_and_test() -> None:
    install, test = blocks("bash")[:2]
    assert install == "python -m pip install . && fastconv train\n"
    assert test == 'python -m pip install ".[test]" && python -m pytest -n auto\n'


@pytest.mark.parametrize("example", blocks("python"), ids=["primitive", "network"])
def test_examples_run(example: str) -> None:
    assert processes.run(example + "\nprint(0)", FASTCONV_DATA="", FASTCONV_OFFLINE=1) == 0
