"""Every error that a caller can meet; all are ``FastconvError``, and each is also the built-in kind one would expect."""

from __future__ import annotations


class FastconvError(Exception):
    """Base of all errors that fastconv raises on purpose."""


class ArgumentError(FastconvError, ValueError):
    """An argument has a wrong value or shape; the message begins with the argument's name."""


class DtypeError(FastconvError, TypeError):
    """An argument has a type or dtype that no kernel takes; the message begins with the argument's name."""


class UnsupportedError(FastconvError, ValueError):
    """No kernel computes the problem as asked; the message lists every refusal."""


class TargetUnavailableError(FastconvError, RuntimeError):
    """The target that was asked for cannot run here; the message says what is missing."""


class DeviceError(FastconvError, RuntimeError):
    """A CUDA device or its driver failed; the host's kernels can be used all the same."""


class DeviceMemoryError(DeviceError, MemoryError):
    """The memory of a CUDA device is full."""


class MeasurementError(FastconvError, RuntimeError):
    """A process that measures has died; what was measured before is kept."""


class DataError(FastconvError, ValueError):
    """A data file is damaged, of another format, or does not fit the others; the message begins with the file."""


class DataNotFoundError(FastconvError, FileNotFoundError):
    """A data set is neither on disk nor to be downloaded; the message says where it was looked for."""


class CheckpointError(FastconvError, ValueError):
    """A weights file is damaged or belongs to another model; the message begins with the file."""


class TrainingError(FastconvError, ArithmeticError):
    """Training cannot go on, as when the loss is no longer a number; the message says at which step."""
