"""Running commands that are to fail."""

from __future__ import annotations

import pytest

from fastconv.cli import main


def fails(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line that a command fails with."""
    try:
        code = main(list(map(str, words)))
    except SystemExit as error:
        code = error.code  # type: ignore[assignment]
    printed = capsys.readouterr()
    assert code == 2
    lines = [line for line in printed.err.splitlines() if not line.startswith("data: ")]
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("fastconv: error: ")
    assert printed.out == ""
    return lines[0].removeprefix("fastconv: error: ")
