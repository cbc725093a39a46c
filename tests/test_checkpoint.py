"""Weights files: what is written comes back, damage is told, and a crash at any moment leaves the previous file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastconv import files
from fastconv.errors import ArgumentError, CheckpointError
from fastconv.nn import checkpoint

METADATA = {"model": "mlp", "input_shape": "1,8,8"}


def tensors() -> dict[str, np.ndarray]:
    """Arrays of every kind of memory."""
    rng = np.random.default_rng(0)
    square = rng.standard_normal((4, 6)).astype(np.float32)
    return {
        "plain": square,
        "fortran": np.asfortranarray(square),
        "transposed": square.T,
        "strided": square[::2, ::-3],
        "broadcast": np.broadcast_to(square[:1], (3, 6)),
        "foreign": square.astype(">f4"),
        "double": rng.standard_normal((2, 3, 4)),
        "scalar": np.array(3.5),
        "empty": np.zeros((0, 3), np.float32),
        "whole": np.arange(5),
        "bits": np.array([True, False]),
        "bytes": np.arange(4, dtype=np.uint8),
    }


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    checkpoint.save(path, tensors(), METADATA)
    got, metadata = checkpoint.load(path)
    assert metadata == METADATA
    assert got.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert (got[name].dtype, got[name].shape) == (tensor.dtype.newbyteorder("="), tensor.shape), name
        np.testing.assert_array_equal(got[name], tensor, err_msg=name)
    assert list(tmp_path.iterdir()) == [path]


def test_without_metadata_and_without_tensors(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "none", {})
    assert checkpoint.load(tmp_path / "none") == ({}, {})


def test_equal_weights_make_equal_files(tmp_path: Path) -> None:
    words = {name: name for name in "abcdefgh"}
    for file in "xy":
        checkpoint.save(tmp_path / file, tensors(), words)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


@pytest.mark.parametrize("name", ["complex", "object", "list"])
def test_what_the_format_cannot_hold(tmp_path: Path, name: str) -> None:
    bad = {"complex": np.zeros(2, np.complex128), "object": np.array([None]), "list": [1.0, 2.0]}[name]
    with pytest.raises(ArgumentError, match=r"^tensors: expected arrays of float16, .* for 'w'"):
        checkpoint.save(tmp_path / "file", {"w": bad})  # type: ignore[dict-item]
    assert not list(tmp_path.iterdir())


def test_metadata_is_strings(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"^metadata: expected strings by strings"):
        checkpoint.save(tmp_path / "file", {}, {"classes": 10})  # type: ignore[dict-item]


def saved(path: Path) -> bytes:
    checkpoint.save(path, {"w": np.ones((3, 5), np.float32)}, METADATA)
    return path.read_bytes()


@pytest.mark.parametrize("kept", [0, 4, 8, 30, -1])
def test_a_file_cut_short(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(saved(path)[:kept])
    with pytest.raises(CheckpointError, match=r"expected a safetensors file") as caught:
        checkpoint.load(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("content", [b"\x80\x04\x95pickled", b"\xff" * 64, b"PK\x03\x04" + bytes(60)])
def test_another_format(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"expected a safetensors file"):
        checkpoint.load(path)


def test_a_dtype_that_numpy_has_not(tmp_path: Path) -> None:
    path = tmp_path / "bfloat16"
    content = saved(path).replace(b'"F32"', b'"BF16"').replace(b"[3,5]", b"[3,10]")
    header = int.from_bytes(content[:8], "little") + 2
    path.write_bytes(header.to_bytes(8, "little") + content[8:])
    with pytest.raises(CheckpointError):
        checkpoint.load(path)


def test_a_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(CheckpointError, match=r"there is no such weights file"):
            checkpoint.load(path)


def test_check_writable(tmp_path: Path) -> None:
    checkpoint.check_writable(tmp_path / "new.safetensors")
    assert not list(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=r"missing does not exist"):
        checkpoint.check_writable(tmp_path / "missing" / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"it is a folder"):
        checkpoint.check_writable(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system here")
def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(CheckpointError, match=r"pipe: .* it is a device or a pipe, not a file"):
        checkpoint.check_writable(pipe)
    with pytest.raises(CheckpointError, match=r"pipe: .* it is a device or a pipe, not a file"):
        checkpoint.save(pipe, {})
    assert list(tmp_path.iterdir()) == [pipe]
    assert pipe.is_fifo()


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="permissions do not bind this user")
def test_check_writable_in_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CheckpointError, match=r"cannot be written"):
        checkpoint.check_writable(tmp_path / "w.safetensors")


def test_check_writable_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    before = saved(path)
    checkpoint.check_writable(path)
    assert path.read_bytes() == before


def test_saving_into_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot write the weights"):
        checkpoint.save(tmp_path / "missing" / "w", {})


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "latest"
    link.symlink_to(tmp_path / "real" / "w.safetensors")
    saved(link)
    assert link.is_symlink()
    assert (tmp_path / "real" / "w.safetensors").is_file()


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_failure_leaves_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    path = tmp_path / "w.safetensors"
    before = saved(path)

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, moment, fail)
        with pytest.raises(CheckpointError, match=r"the disk is full"):
            checkpoint.save(path, {"w": np.zeros(1000, np.float32)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


WRITER = """
import sys
import numpy as np
from fastconv.nn import checkpoint
number = 0
while True:
    checkpoint.save(sys.argv[1], {"w": np.full(200_000, number, np.float32)}, {"number": str(number)})
    number += 1
    if number == 3:
        print("writing", flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_kill_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    delays = np.random.default_rng(0).uniform(0, 0.05, 5)
    for delay in delays:
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(delay)
            process.kill()
        got, metadata = checkpoint.load(path)
        np.testing.assert_array_equal(got["w"], np.full(200_000, float(metadata["number"]), np.float32))
