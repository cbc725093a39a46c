"""Where a command runs: ``--threads`` and ``--target``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastconv import dispatch
from fastconv.errors import ArgumentError
from fastconv.functional.machine import machine


@contextmanager
def chosen(arguments: Namespace) -> Iterator[dict[str, Any]]:
    """Hold to the command's threads and target, and give them, resolved, as a report names them.

    Raises
    ------
    ArgumentError, TargetUnavailableError
        Before anything is done: they cannot be had here.
    """
    most = machine().threads
    with dispatch.use(target=arguments.target, threads=arguments.threads):
        settings = dispatch.settings()  # the environment's too, where the command says nothing
        if settings.threads is not None and settings.threads > most:
            raise ArgumentError(f"threads: expected at most {most}, which this machine offers, got {settings.threads}")
        yield {"threads": settings.threads or most, "target": settings.target or "auto"}
