"""Data sets: the IDX reader, where MNIST is looked for, and what stands in for it."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from fastconv import data
from fastconv.data import idx, mnist
from fastconv.errors import ArgumentError, DataError, DataNotFoundError
from idx_files import CODES, idx_bytes, leave_alone, small_files, write_small


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the small files, compressed."""
    return write_small(tmp_path / "files")


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has no data and no network; gives the empty cache."""
    return leave_alone(monkeypatch, tmp_path / "cache")


# --- the IDX reader


@pytest.mark.parametrize("dtype", sorted(CODES))
@pytest.mark.parametrize("compressed", [False, True])
def test_idx_gives_back_what_was_written(tmp_path: Path, dtype: str, compressed: bool) -> None:
    array = (np.arange(24).reshape(2, 3, 4) - 5).astype(dtype)
    path = tmp_path / "values"
    path.write_bytes(gzip.compress(idx_bytes(array)) if compressed else idx_bytes(array))
    got = idx.read(path)
    assert got.dtype == array.dtype
    assert got.dtype.isnative
    assert got.flags.writeable
    np.testing.assert_array_equal(got, array)


def test_idx_with_an_empty_axis(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_bytes(idx_bytes(np.zeros((0, 28, 28), np.uint8)))
    assert idx.read(path).shape == (0, 28, 28)


GOOD = idx_bytes(np.arange(12, dtype=np.int16).reshape(3, 4))
PACKED = gzip.compress(GOOD, mtime=0)  # every process names the tests below alike


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "begins with nothing"),
        (b"\x89PNG\r\n\x1a\n", "begins with 89 50 4e 47"),
        (b"\0\0\x07\x01\0\0\0\0", "expected an IDX file.*08, 09, 0b, 0c, 0d, 0e"),
        (b"\0\0\x08\0", "the number of axes"),
        (GOOD[:9], "expected a header of 12 bytes for 2 axes"),
        (GOOD[:-1], "expected 36 bytes for 3 x 4 values of int16, but there are 35"),
        (GOOD + b"\0", "expected 36 bytes for 3 x 4 values of int16, but there are 37"),
        (PACKED[:-9], "expected a whole gzip file"),
        (PACKED[:12], "expected a whole gzip file"),
        (PACKED[:-8] + bytes(8), "expected a whole gzip file"),
        (idx.GZIP + b"\x08 and no more gzip", "expected a whole gzip file"),
    ],
)
def test_idx_names_the_bad_file(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "bad-file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=expected) as caught:
        idx.read(path)
    assert str(caught.value).startswith(str(path))


def test_idx_with_more_values_than_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    path.write_bytes(bytes([0, 0, 0x0E, 4]) + b"\xff" * 16)
    with pytest.raises(DataError, match=r"expected .* bytes"):
        idx.read(path)


def test_idx_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"there is no such file"):
        idx.read(tmp_path / "none")
    with pytest.raises(DataError, match=r"cannot be read"):
        idx.read(tmp_path)


# --- a folder that is named


@pytest.mark.parametrize("below", ["", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("spelling", ["{}", "{}.gz", "dotted", "dotted.gz"])
def test_folder_in_every_usual_spelling(tmp_path: Path, below: str, spelling: str) -> None:
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    for name, content in small_files().items():
        file = spelling.format(name).replace("dotted", name.replace("-idx", ".idx"))
        (tmp_path / below / file).write_bytes(gzip.compress(content) if file.endswith(".gz") else content)
    got = data.load(folder=tmp_path)
    assert got.x_train.shape == (20, 1, 6, 6)
    assert got.x_test.shape == (10, 1, 6, 6)
    assert got.x_train.dtype == np.uint8
    assert got.y_train.dtype == np.int64
    assert got.input_shape == (1, 6, 6)
    assert got.classes == 10
    np.testing.assert_array_equal(got.y_test, np.arange(10))
    assert got.name == f"folder {tmp_path.name}"
    assert "not the canonical files" in got.origin
    assert "\n" not in got.origin


def test_folder_named_by_the_environment(folder: Path, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTCONV_DATA", str(folder))
    assert data.load().origin.endswith("named by FASTCONV_DATA")


def test_argument_before_the_environment(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTCONV_DATA", str(tmp_path / "nowhere"))
    assert data.load(folder=folder).x_train.shape == (20, 1, 6, 6)


@pytest.mark.parametrize("named_by", ["argument", "environment"])
def test_named_folder_is_never_replaced(folder: Path, alone: Path, monkeypatch: pytest.MonkeyPatch, named_by: str) -> None:
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    if named_by == "environment":
        monkeypatch.setenv("FASTCONV_DATA", str(folder))
    with pytest.raises(DataNotFoundError, match=r"lacks t10k-labels-idx1-ubyte$") as caught:
        data.load(folder=folder if named_by == "argument" else None)
    assert str(caught.value).startswith(str(folder))


def test_named_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"there is no such folder"):
        data.load(folder=tmp_path / "none")


def test_labels_that_are_fewer_than_the_images(folder: Path) -> None:
    path = folder / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros(19, np.uint8))))
    with pytest.raises(
        DataError, match=r"expected 20 labels, as many as train-images-idx3-ubyte.gz has images, got 19"
    ) as caught:
        data.load(folder=folder)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("train-images-idx3-ubyte", np.zeros((20, 36), np.uint8), r"expected \(N, H, W\) of uint8, got \(20, 36\)"),
        ("train-images-idx3-ubyte", np.zeros((20, 6, 6), np.int16), r"expected \(N, H, W\) of uint8, .* of int16"),
        ("train-images-idx3-ubyte", np.zeros((0, 6, 6), np.uint8), r"expected \(N, H, W\) of uint8, got \(0, 6, 6\)"),
        ("t10k-labels-idx1-ubyte", np.zeros((10, 1), np.uint8), r"expected \(N,\) of uint8, got \(10, 1\)"),
        (
            "t10k-images-idx3-ubyte",
            np.zeros((10, 6, 7), np.uint8),
            r"expected images of \(6, 6\) as for training, got \(6, 7\)",
        ),
        ("t10k-labels-idx1-ubyte", np.full(10, 11, np.uint8), "expected labels from 0 to 9 as for training, got 11"),
    ],
)
def test_files_that_do_not_fit(folder: Path, name: str, array: np.ndarray, expected: str) -> None:
    path = folder / f"{name}.gz"
    path.write_bytes(gzip.compress(idx_bytes(array)))
    with pytest.raises(DataError, match=expected) as caught:
        data.load(folder=folder)
    assert str(caught.value).startswith(str(path))


# --- what stands in for MNIST


def test_digits_when_there_is_no_mnist(alone: Path) -> None:
    got = data.load()
    assert got.name == "uci-digits"
    assert got.input_shape == (1, 8, 8)
    assert got.classes == 10
    assert "\n" not in got.origin
    for part in ("UCI digits", "FASTCONV_OFFLINE is set", str(alone), "--data DIR", "FASTCONV_DATA"):
        assert part in got.origin


def test_mnist_is_not_replaced_when_it_is_asked_for(alone: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"^mnist: .*FASTCONV_OFFLINE is set"):
        data.load("mnist")
    with pytest.raises(DataNotFoundError, match=r"a download was not allowed"):
        data.load("mnist", download=False)


def test_digits_are_split_the_same_way_every_time() -> None:
    first, second = data.load("uci-digits"), data.load("uci-digits")
    assert len(first.x_train) == 1437
    assert len(first.x_test) == 360
    assert first.x_train.dtype == np.uint8
    assert first.x_train.max() == 255
    assert first.x_train.min() == 0
    for part in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(first, part), getattr(second, part))
    together = np.concatenate([first.x_train, first.x_test]).reshape(1797, -1)
    from sklearn.datasets import load_digits

    assert sorted(together.sum(axis=1)) == sorted(np.rint(load_digits().data * 255 / 16).sum(axis=1))


def test_unknown_names() -> None:
    with pytest.raises(ArgumentError, match=r"^name: expected one of auto, mnist, uci-digits, got 'cifar'"):
        data.load("cifar")
    with pytest.raises(ArgumentError, match=r"^folder: expected none with uci-digits"):
        data.load("uci-digits", folder=".")


@pytest.mark.skipif(not os.environ.get("FASTCONV_DATA"), reason="FASTCONV_DATA does not name a folder with MNIST")
def test_the_real_mnist() -> None:
    got = data.load()
    assert got.name == "mnist"
    assert "checksums are right" in got.origin
    assert got.x_train.shape == (60000, 1, 28, 28)
    assert got.x_test.shape == (10000, 1, 28, 28)
    assert got.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert got.y_test[:5].tolist() == [7, 2, 1, 0, 4]


@pytest.mark.skipif(not os.environ.get("FASTCONV_DATA"), reason="FASTCONV_DATA does not name a folder with MNIST")
def test_one_file_that_is_not_mnist_among_those_that_are(tmp_path: Path) -> None:
    real = mnist.find(Path(os.environ["FASTCONV_DATA"]))
    for name, path in real.items():
        (tmp_path / path.name).symlink_to(path.resolve())
        if name == "t10k-labels-idx1-ubyte":
            content = bytearray(idx.content(path))
            content[-1] ^= 1
            (tmp_path / path.name).unlink()
            (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte: expected SHA-256 ff7bcfd4.* \(uncompressed\), got "):
        data.load(folder=tmp_path)
