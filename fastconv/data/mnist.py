"""MNIST: where its four files are looked for, how they are known to be right, and what they hold.

References
----------
LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from fastconv.data import idx
from fastconv.data.dataset import Dataset
from fastconv.errors import DataError, DataNotFoundError

CHECKSUMS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""SHA-256 of the canonical files, uncompressed: copies differ in how gzip wrapped them."""

WITHIN = (".", "mnist", "MNIST/raw", "raw")
"""Where in a folder the files may be: torchvision, for one, puts them into MNIST/raw."""


def user_folder() -> Path:
    """Where downloads are kept: ``FASTCONV_CACHE_DIR``, else the platform's folder for a user's caches."""
    import platformdirs

    chosen = os.environ.get("FASTCONV_CACHE_DIR")
    root = Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("fastconv")
    return root / "mnist"


def find(folder: Path) -> dict[str, Path]:
    """The files of MNIST that are in ``folder``, by their canonical names, under any of their usual ones."""
    for subfolder in WITHIN:
        found = {}
        for name in CHECKSUMS:
            dotted = name.replace("-idx", ".idx")  # as many unpackers write it
            for spelling in (name, f"{name}.gz", dotted, f"{dotted}.gz"):
                if (path := folder / subfolder / spelling).is_file():
                    found[name] = path
                    break
        if found:
            return found
    return {}


def from_folder(folder: str | os.PathLike[str], named_by: str = "") -> Dataset:
    """The four files in a folder that somebody named.

    Parameters
    ----------
    folder : path
        Files may be compressed or not.  Other data in MNIST's format, as Fashion-MNIST, is taken and named as what it is,
        if none of the four files is MNIST's: one that differs among others that are is a damaged file.
    named_by : str
        What named it if no argument did; stands in ``origin`` and in the errors.

    Raises
    ------
    DataNotFoundError
        The folder, or one of its four files, is missing.
    DataError
        A file is damaged, is not what its neighbours are, or they do not fit each other.
    """
    root, named = Path(folder).expanduser(), f", named by {named_by}" if named_by else ""
    if not root.is_dir():
        raise DataNotFoundError(f"{root}: expected a folder with the four files of MNIST{named}, but there is no such folder")
    found = find(root)
    if missing := [name for name in CHECKSUMS if name not in found]:
        lacking = ", ".join(missing)
        raise DataNotFoundError(
            f"{root}: expected the four files of MNIST (or .gz) in this folder{named}, but it lacks {lacking}"
        )
    contents = {name: idx.content(path) for name, path in found.items()}
    canonical = canonical_or_other(found, contents)
    name = "mnist" if canonical else f"folder {root.resolve().name}"
    kind = "MNIST (checksums are right)" if canonical else "data in MNIST's format (not the canonical files)"
    return dataset(name, found, contents, f"{kind} from {root}{named}")


def from_cache() -> Dataset | None:
    """MNIST as it was downloaded earlier; None if it was not, or if a file is no longer what it was."""
    found = find(user_folder())
    if len(found) < len(CHECKSUMS):
        return None
    try:
        contents = {name: idx.content(path) for name, path in found.items()}
    except DataError:
        return None
    if not all(map(matches, CHECKSUMS, contents.values())):
        return None
    return dataset("mnist", found, contents, f"MNIST from {user_folder()}, downloaded earlier")


def canonical_or_other(paths: dict[str, Path], contents: dict[str, bytes]) -> bool:
    """Whether all four files are MNIST's own (True) or none is (False); ``DataError`` if they are mixed."""
    right = {name: matches(name, contents[name]) for name in CHECKSUMS}
    if any(right.values()):
        for name, is_right in right.items():
            if not is_right:
                found = hashlib.sha256(contents[name]).hexdigest()
                raise DataError(f"{paths[name]}: expected SHA-256 {CHECKSUMS[name]} (uncompressed), got {found}")
    return all(right.values())


def matches(name: str, data: bytes) -> bool:
    """Whether the uncompressed content is that of the canonical file ``name``."""
    return hashlib.sha256(data).hexdigest() == CHECKSUMS[name]


def dataset(name: str, paths: dict[str, Path], contents: dict[str, bytes], origin: str) -> Dataset:
    """Parse the four files and check that they fit each other."""
    arrays = {file: idx.parse(contents[file], paths[file]) for file in CHECKSUMS}
    parts = []
    for part in ("train", "t10k"):
        images_file, labels_file = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
        images, labels = arrays[images_file], arrays[labels_file]
        _check_pair(images, paths[images_file], labels, paths[labels_file])
        parts += [images[:, None], labels.astype(np.int64)]
    x_train, y_train, x_test, y_test = parts
    if x_train.shape[1:] != x_test.shape[1:]:
        path = paths["t10k-images-idx3-ubyte"]
        raise DataError(f"{path}: expected images of {x_train.shape[2:]} as for training, got {x_test.shape[2:]}")
    classes = int(y_train.max()) + 1
    if y_test.max() >= classes:
        path = paths["t10k-labels-idx1-ubyte"]
        raise DataError(f"{path}: expected labels from 0 to {classes - 1} as for training, got {y_test.max()}")
    return Dataset(name, x_train, y_train, x_test, y_test, classes, origin)


def _check_pair(images: np.ndarray, images_path: Path, labels: np.ndarray, labels_path: Path) -> None:
    """Images are (N, H, W), labels (N,), both uint8, with one N that is not 0."""
    for array, path, ndim, axes in ((images, images_path, 3, "(N, H, W)"), (labels, labels_path, 1, "(N,)")):
        if array.ndim != ndim or array.dtype != np.uint8 or array.size == 0:
            raise DataError(f"{path}: expected {axes} of uint8, got {array.shape} of {array.dtype}")
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: expected {len(images)} labels, as many as {images_path.name} has images, got {len(labels)}"
        )
