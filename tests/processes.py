"""Running a script in a process of its own, which is killed with all its children when it takes too long."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATHS = (ROOT, ROOT / "kernels")
TIMEOUT = 120
"""Seconds: many times what any script needs, so that only a hang meets it."""


def start(script: str, paths: tuple[Path, ...] = PATHS, **environment: object) -> subprocess.Popen[str]:
    """Start ``script`` in a new Python with ``paths`` first on its path and ``environment`` over this process's own."""
    variables = os.environ | {name: str(value) for name, value in environment.items()}
    variables["PYTHONPATH"] = os.pathsep.join(map(str, paths))
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # its children can be killed with it
    )


def finish(process: subprocess.Popen[str]) -> tuple[Any, str]:
    """What the script printed on its last line, from JSON, and its standard error; a failure of it fails the test."""
    try:
        printed, errors = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        printed, errors = process.communicate()
        raise AssertionError(f"hangs\n{printed}\n{errors}") from None
    assert process.returncode == 0, f"exit status {process.returncode}\n{printed}\n{errors}"
    return json.loads(printed.splitlines()[-1]), errors


def run(script: str, **keywords: Any) -> Any:
    """``start`` and ``finish``: what the script printed on its last line."""
    return finish(start(script, **keywords))[0]
