"""Data sets: MNIST from files, from the user's cache or from its mirrors; else the UCI digits of scikit-learn."""

from __future__ import annotations

import os

from fastconv.data import digits, download, idx, mnist
from fastconv.data.dataset import Dataset
from fastconv.errors import ArgumentError, DataNotFoundError

__all__ = ["NAMES", "Dataset", "idx", "load"]

NAMES = ("auto", "mnist", "uci-digits")
HOW_TO_GIVE = "give MNIST with --data DIR or FASTCONV_DATA, a folder with its four files"


def load(name: str = "auto", folder: str | os.PathLike[str] | None = None, download: bool = True) -> Dataset:
    """A data set by name.

    Parameters
    ----------
    name : {"auto", "mnist", "uci-digits"}
        "auto" is MNIST where it can be had and the UCI digits where it cannot; ``Dataset.origin`` says which and why.
    folder : path, optional
        A folder with MNIST's four files, else FASTCONV_DATA.  A folder that is named must have them: nothing replaces it.
    download : bool
        Whether MNIST may be fetched when the user's cache lacks it (11 MB); FASTCONV_OFFLINE=1 forbids it as well.

    Raises
    ------
    DataNotFoundError
        MNIST was asked for, or a folder was given, and a file is missing; or "auto" found no data at all.
    DataError
        A file in the given folder is damaged or does not fit the others.
    """
    if name not in NAMES:
        raise ArgumentError(f"name: expected one of {', '.join(NAMES)}, got {name!r}")
    if name == "uci-digits":
        if folder is not None:
            raise ArgumentError("folder: expected none with uci-digits, which come with scikit-learn")
        return digits.load()
    if folder is not None:
        return mnist.from_folder(folder)
    if chosen := os.environ.get("FASTCONV_DATA"):
        return mnist.from_folder(chosen, "FASTCONV_DATA")
    try:
        return _cached_or_downloaded(download)
    except DataNotFoundError as error:
        if name == "mnist":
            raise
        return digits.load(reason=f"MNIST was not found ({str(error).removeprefix('mnist: ')}); {HOW_TO_GIVE}")


def _cached_or_downloaded(allowed: bool) -> Dataset:
    """MNIST from the user's cache, into which it is fetched first if it is not there."""
    cached = mnist.from_cache()
    if cached is not None:
        return cached
    folder = mnist.user_folder()
    if not allowed or os.environ.get("FASTCONV_OFFLINE", "0") not in ("", "0"):
        reason = "FASTCONV_OFFLINE is set" if allowed else "a download was not allowed"
        raise DataNotFoundError(f"mnist: FASTCONV_DATA is not set, {folder} has not its four files, and {reason}")
    try:
        download.fetch(folder)
    except DataNotFoundError as error:
        looked = f"mnist: FASTCONV_DATA is not set, {folder} has not its four files, and "
        raise DataNotFoundError(looked + str(error).removeprefix("mnist: ")) from error
    fetched = mnist.from_cache()
    assert fetched is not None  # every file was checked before it was moved there
    return fetched
