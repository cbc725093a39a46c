"""Fetch MNIST from its public mirrors into the user's cache, checked by content; slow or absent networks are given up soon."""

from __future__ import annotations

import gzip
import io
import sys
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastconv import files
from fastconv.data import mnist
from fastconv.errors import DataNotFoundError

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
ANSWER_SECONDS = 5.0
"""How long a mirror may take to answer at all; two mirrors are tried."""
STALL_SECONDS = 10.0
"""How long a download may stand still."""


def fetch(folder: Path, mirrors: Sequence[str] = MIRRORS) -> None:
    """Put the four files of MNIST into ``folder``, compressed as the mirror has them; those that are right already stay.

    A file is moved into place only when the SHA-256 of its uncompressed content is right.

    Raises
    ------
    DataNotFoundError
        With what was wrong with each mirror, or with the folder.
    """
    wrong = []
    for mirror in mirrors:
        try:
            _wait_for_answer(mirror)
            for name in mnist.CHECKSUMS:
                _fetch_file(name, mirror, folder)
        except _MirrorError as error:
            wrong.append(f"{mirror} {error}")
        except OSError as error:
            raise DataNotFoundError(f"mnist: cannot be kept in {folder} ({error.strerror or error})") from error
        else:
            return
    raise DataNotFoundError(f"mnist: no mirror gave it: {'; '.join(wrong)}")


class _MirrorError(Exception):
    """Why a mirror is of no use, in the words that follow its address."""


def _wait_for_answer(mirror: str) -> None:
    """Raise unless the mirror's host answers in time, whatever it answers.

    A library's time limits hold for each address of a host and not at all for looking up its name, so that a machine
    without a network might wait for minutes: hence a thread of our own, left to itself when the time is up.
    """
    import requests

    outcome: list[str] = []

    def ask() -> None:
        try:
            requests.head(mirror, timeout=ANSWER_SECONDS).close()
            outcome.append("")
        except (requests.RequestException, OSError, ValueError) as error:
            outcome.append(f"cannot be reached ({type(error).__name__})")

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    problem = outcome[0] if outcome else f"did not answer within {ANSWER_SECONDS:g} s"
    if problem:
        raise _MirrorError(problem)


def _fetch_file(name: str, mirror: str, folder: Path) -> None:
    import pooch
    import requests

    path = folder / f"{name}.gz"
    if path.is_file() and _checked(path.read_bytes(), name) is None:
        return
    compressed = io.BytesIO()
    with _progress(path.name) as bar:
        download = pooch.HTTPDownloader(progressbar=bar, timeout=STALL_SECONDS)
        try:
            download(mirror + path.name, compressed, None)
        except (requests.RequestException, ValueError) as error:
            response = getattr(error, "response", None)
            reason = f"HTTP status {response.status_code}" if response is not None else type(error).__name__
            raise _MirrorError(f"did not give {path.name} ({reason})") from error
    content = compressed.getvalue()
    if problem := _checked(content, name):
        raise _MirrorError(f"gave a {path.name} whose {problem}")
    folder.mkdir(parents=True, exist_ok=True)
    files.write_atomically(path, content)


def _checked(compressed: bytes, name: str) -> str | None:
    """What is wrong with a compressed file; None: nothing."""
    try:
        content = gzip.decompress(compressed)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        return f"gzip is damaged ({error})"
    if mnist.matches(name, content):
        return None
    return f"content has another SHA-256 than the expected {mnist.CHECKSUMS[name]}"


class _Bar:
    """What pooch asks of a progress bar, drawn by rich."""

    def __init__(self, progress: Any, label: str) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=None)

    @property
    def total(self) -> int:
        return int(self._progress.tasks[0].total or 0)

    @total.setter
    def total(self, size: int) -> None:
        self._progress.update(self._task, total=size)

    def update(self, size: int) -> None:
        self._progress.advance(self._task, size)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        self._progress.refresh()


@contextmanager
def _progress(label: str) -> Iterator[_Bar | bool]:
    """A progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield False
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Bar(progress, label)
