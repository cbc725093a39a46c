"""Fetching MNIST: from a server on this machine that has small files, has wrong ones, or does not answer."""

from __future__ import annotations

import gzip
import hashlib
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from fastconv import data
from fastconv.data import download, mnist
from fastconv.errors import DataNotFoundError
from idx_files import idx_bytes, leave_alone, small_files, write_small


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the small files, compressed."""
    return write_small(tmp_path / "files")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test's output is not the place."""


@pytest.fixture
def mirror(folder: Path) -> Iterator[str]:
    """The address of a server with the files of ``folder``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def dead() -> str:
    """An address at which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/"


@pytest.fixture
def small_is_canonical(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checksums of the small files instead of MNIST's."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in small_files().items()}
    monkeypatch.setattr(mnist, "CHECKSUMS", digests)


@pytest.fixture
def online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has no data but may download; gives the empty cache."""
    cache = leave_alone(monkeypatch, tmp_path / "cache")
    monkeypatch.delenv("FASTCONV_OFFLINE")
    return cache


def test_download_from_the_next_mirror(small_is_canonical: None, online: Path, mirror: str, dead: str) -> None:
    download.fetch(online / "mnist", [dead, mirror + "no-such-folder/", mirror])
    assert sorted(path.name for path in (online / "mnist").iterdir()) == sorted(f"{name}.gz" for name in mnist.CHECKSUMS)
    got = data.load()  # no mirror is asked: the real ones do not have the small files
    assert got.name == "mnist"
    assert got.x_train.shape == (20, 1, 6, 6)
    assert "downloaded earlier" in got.origin


def test_load_downloads_once(
    small_is_canonical: None, online: Path, mirror: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.fetch, "__defaults__", ([mirror],))
    assert data.load("mnist").x_test.shape == (10, 1, 6, 6)
    for path in folder.iterdir():
        path.unlink()
    assert data.load("mnist").x_test.shape == (10, 1, 6, 6)


def test_only_what_is_missing_is_fetched(small_is_canonical: None, online: Path, mirror: str, folder: Path) -> None:
    download.fetch(online, [mirror])
    for name in list(mnist.CHECKSUMS)[:3]:
        (folder / f"{name}.gz").unlink()
    last = online / f"{list(mnist.CHECKSUMS)[3]}.gz"
    last.write_bytes(last.read_bytes()[:-20])
    download.fetch(online, [mirror])
    assert mnist.matches(last.stem, gzip.decompress(last.read_bytes()))


def test_wrong_checksum_leaves_nothing(online: Path, mirror: str) -> None:
    with pytest.raises(
        DataNotFoundError, match=r"train-images-idx3-ubyte.gz whose content has another SHA-256 .*ba891046e6505d7a"
    ):
        download.fetch(online, [mirror])
    assert not online.exists()


def test_damaged_download(small_is_canonical: None, online: Path, mirror: str, folder: Path) -> None:
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataNotFoundError, match=r"train-images-idx3-ubyte.gz whose gzip is damaged"):
        download.fetch(online, [mirror])
    assert not online.exists()


def test_every_mirror_fails(online: Path, mirror: str, dead: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "train-images-idx3-ubyte.gz").unlink()
    monkeypatch.setattr(download.fetch, "__defaults__", ([dead, mirror],))
    with pytest.raises(DataNotFoundError) as caught:
        data.load("mnist")
    message = str(caught.value)
    assert f"{dead} cannot be reached" in message
    assert "HTTP status 404" in message
    assert str(online) in message
    assert "FASTCONV_DATA" in message


def test_a_mirror_that_never_answers(online: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"http://127.0.0.1:{mute.getsockname()[1]}/"
        with pytest.raises(DataNotFoundError, match=r"did not answer within 0.2 s|cannot be reached"):
            download.fetch(online, [address])


def test_cache_that_cannot_be_written(small_is_canonical: None, tmp_path: Path, mirror: str) -> None:
    file = tmp_path / "a-file"
    file.write_text("in the way")
    with pytest.raises(DataNotFoundError, match=f"cannot be kept in {file}"):
        download.fetch(file / "mnist", [mirror])


def test_damaged_cache_is_not_used(
    small_is_canonical: None, online: Path, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    download.fetch(online / "mnist", [mirror])
    path = online / "mnist/t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    assert mnist.from_cache() is None
    path.write_bytes(gzip.compress(idx_bytes(np.zeros((10, 6, 6), np.uint8))))
    assert mnist.from_cache() is None


def test_progress_bar_on_a_terminal(
    small_is_canonical: None, online: Path, mirror: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    download.fetch(online, [mirror])
    assert "train-images-idx3-ubyte.gz" in capsys.readouterr().err


def test_digits_when_no_mirror_answers(online: Path, dead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.fetch, "__defaults__", ([dead],))
    got = data.load()
    assert got.name == "uci-digits"
    assert f"{dead} cannot be reached" in got.origin
    assert "\n" not in got.origin
