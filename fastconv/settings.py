"""What is asked of the kernels: by an argument, by ``with use(…)``, by the environment, in this order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .devices import cuda_status
from .errors import ArgumentError, TargetUnavailableError

ACCURACIES = ("fast", "precise", "exact")
TARGETS = ("auto", "cpu", "cuda", "numpy")
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")


class Settings(NamedTuple):
    """What is asked for; None leaves it to whoever is asked next, and in the end to the ranking.

    Attributes
    ----------
    target : "auto", "cpu", "cuda" or "numpy"
        Of arrays on a CUDA device always "cuda".  Of the host's, "cuda" copies them to device 0, and the results back.
    algorithm : an algorithm's name, or "auto"
    threads : at least 1, at most the threads that Numba has
    accuracy : "fast", "precise" or "exact"
        The error a kernel may declare, in bounds of a plain sum: any, at most 8, or 1 (``fastconv_kernels.registry``).
    precision : "fp32", "tf32", "bf16" or "fp16"
        What products may be rounded to before they are summed in float32; only kernels for CUDA make use of it.
    device : (int, int), or None
        Where the arrays of the calls are: the number of a CUDA device, and the handle of the stream on which they are made.
        None, the host, for all that users ask.
    prepared : bool or None
        Whether weights are packed once for many calls, as in a plan: what packing takes is then not counted.
    """

    target: str | None = None
    algorithm: str | None = None
    threads: int | None = None
    accuracy: str | None = None
    precision: str | None = None
    device: tuple[int, int] | None = None
    prepared: bool | None = None

    def checked(self) -> Settings:
        """Itself, if every value can be had.

        Raises
        ------
        ArgumentError, TargetUnavailableError
        """
        for name, allowed in (("target", TARGETS), ("accuracy", ACCURACIES), ("precision", PRECISIONS)):
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise ArgumentError(f"{name}: expected one of {', '.join(allowed)}, got {value!r}")
        if self.algorithm is not None and not isinstance(self.algorithm, str):
            raise ArgumentError(f"algorithm: expected the name of an algorithm, got {self.algorithm!r}")
        if self.threads is not None and (
            not isinstance(self.threads, (int, np.integer)) or isinstance(self.threads, bool) or self.threads < 1
        ):
            raise ArgumentError(f"threads: expected an integer of at least 1, got {self.threads!r}")
        if self.target == "cuda" and _used.get().device is None and not cuda_status().available:
            raise TargetUnavailableError(f"target: cuda cannot be used: {cuda_status().reason}")
        return self

    def over(self, other: Settings) -> Settings:
        """These where they say something, ``other`` where they do not."""
        return other._replace(**{name: value for name, value in self._asdict().items() if value is not None})


_used: ContextVar[Settings] = ContextVar("fastconv_use", default=Settings())  # noqa: B039 - a frozen value


def use(
    target: str | None = None,
    algorithm: str | None = None,
    threads: int | None = None,
    accuracy: str | None = None,
    precision: str | None = None,
) -> AbstractContextManager[Settings]:
    """Ask for a target, an algorithm, … of every call inside ``with use(…):``, in this thread or task alone.

    Parameters
    ----------
    target, algorithm, threads, accuracy, precision
        See ``Settings``; what is not given stays as it was outside.  An algorithm is asked of the operators that have one of
        that name; the others choose as they would.  "auto" undoes a request made outside.

    Raises
    ------
    ArgumentError
        A value that does not exist.
    TargetUnavailableError
        A target that cannot run here, with what is missing.
    """
    return _using(Settings(target, algorithm, threads, accuracy, precision).checked())


def using_device(device: int, stream: int) -> AbstractContextManager[Settings]:
    """Choose among the kernels for CUDA inside the ``with``: the arrays of the calls there are on a device.

    Plans keep workspaces, which two streams must not use at the same time: each stream has plans of its own.
    """
    return _using(Settings(target="cuda", device=(device, stream)))


@contextmanager
def _using(asked: Settings) -> Iterator[Settings]:
    token = _used.set(asked.over(_used.get()))
    try:
        yield _used.get()
    finally:
        _used.reset(token)


@lru_cache(maxsize=16)
def _parsed(target: str | None, algorithm: str | None, threads: str | None, accuracy: str | None) -> Settings:
    """The environment's words as settings; an empty word is none."""
    if threads and not threads.isdecimal():
        raise ArgumentError(f"FASTCONV_THREADS: expected an integer of at least 1, got {threads!r}")
    asked = Settings(target or None, algorithm or None, int(threads) if threads else None, accuracy or None)
    try:
        return asked.checked()
    except (ArgumentError, TargetUnavailableError) as error:
        name, _, problem = str(error).partition(":")
        raise type(error)(f"FASTCONV_{name.upper()}:{problem}") from None


VARIABLES = ("FASTCONV_TARGET", "FASTCONV_ALGORITHM", "FASTCONV_THREADS", "FASTCONV_ACCURACY")


def settings() -> Settings:
    """What holds here and now where a call does not say otherwise: ``use`` over the environment."""
    return _used.get().over(_parsed(*map(os.environ.get, VARIABLES)))


_words = os.environ._data.get  # type: ignore[attr-defined]
_TARGET, _ALGORITHM, _THREADS, _ACCURACY = map(os.environ.encodekey, VARIABLES)


Around = tuple[object, ...]


def around() -> Around:
    """All that ``settings`` depends on, to be compared with what it was.

    It looks into the dictionary inside ``os.environ``, as often as a kernel is called: asked in the ordinary way, the
    environment takes two microseconds, longer than a small product of matrices.
    """
    return _used.get(), _words(_TARGET), _words(_ALGORITHM), _words(_THREADS), _words(_ACCURACY)
