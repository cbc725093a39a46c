"""The command line: training a model, and measuring and asking one that was trained."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_line import fails
from fastconv import nn
from fastconv.cli import main
from fastconv.nn import checkpoint

pytestmark = pytest.mark.usefixtures("without_mnist")

REAL_MNIST = os.environ.get("FASTCONV_DATA", "")
"""The folder that is named outside of the tests."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A softmax regression on the UCI digits, trained by the command line."""
    folder = tmp_path_factory.mktemp("weights")
    path = folder / "softmax.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FASTCONV_DATA", raising=False)
        patch.setenv("FASTCONV_OFFLINE", "1")
        patch.setattr("fastconv.data.mnist.user_folder", lambda: folder / "no-mnist")
        assert main(["train", "--model", "softmax", "--out", str(path), "--json", str(folder / "run.json")]) == 0
    return path


# --- train


def test_train_reports_what_was_promised(weights: Path) -> None:
    got = json.loads((weights.parent / "run.json").read_text())
    assert (got["model"], got["dataset"]) == ("softmax", "uci-digits")
    assert "UCI digits" in got["origin"]
    assert (got["parameters"], got["seed"], got["optimizer"], got["learning_rate"]) == (650, 0, "adam", 1e-3)
    assert got["threads"] >= 1
    assert got["versions"].keys() >= {"python", "numpy", "numba"}
    assert 0 < got["train_seconds"] <= got["total_seconds"]
    assert 0 <= got["compile_seconds"] <= got["total_seconds"]
    assert got["images_per_second"] == pytest.approx(1437 * got["epochs"] / got["train_seconds"])
    assert got["history"].keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert all(len(values) == got["epochs"] for values in got["history"].values())
    assert got["test_accuracy"] == got["history"]["val_accuracy"][-1] > 0.9
    assert got["test_loss"] == got["history"]["val_loss"][-1] < got["history"]["val_loss"][0]


def test_weights_say_what_they_are_of(weights: Path) -> None:
    _, metadata = checkpoint.load(weights)
    assert (metadata["model"], metadata["dataset"], metadata["input_shape"], metadata["classes"]) == (
        "softmax",
        "uci-digits",
        "1,8,8",
        "10",
    )


def test_train_repeats_bit_for_bit(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = tmp_path / "again.safetensors"
    assert main(["train", "--model", "softmax", "--out", str(again), "--threads", "1"]) == 0
    printed = capsys.readouterr()
    assert "softmax on uci-digits: test accuracy 9" in printed.out
    assert f"weights: {again}" in printed.out
    assert printed.err.startswith("data: UCI digits")
    assert again.read_bytes() == weights.read_bytes()


def test_train_on_the_reference_with_sgd(tmp_path: Path) -> None:
    report_file = tmp_path / "run.json"
    words = ["--target", "numpy", "--optimizer", "sgd", "--lr", "0.05", "--epochs", "2", "--batch-size", "100"]
    assert main(["train", "--model", "softmax", "--json", str(report_file), *words]) == 0
    got = json.loads(report_file.read_text())
    assert (got["target"], got["optimizer"], got["learning_rate"], got["batch_size"]) == ("numpy", "sgd", 0.05, 100)
    assert got["epochs"] == 2
    assert got["test_accuracy"] > 0.8


def test_train_stops_when_the_loss_is_no_number(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"the weights of yesterday")
    words = ["train", "--model", "mlp", "--optimizer", "sgd", "--lr", "1e30", "--out", path]
    with np.errstate(all="ignore"):
        assert "at step" in fails(capsys, *words)
    assert path.read_bytes() == b"the weights of yesterday"


def test_train_the_convolutional_network_on_the_digits(tmp_path: Path) -> None:
    report_file = tmp_path / "run.json"
    assert main(["train", "--json", str(report_file), "--epochs", "10"]) == 0
    got = json.loads(report_file.read_text())
    assert got["model"] == "mnist-cnn"
    assert got["test_accuracy"] > 0.9


@pytest.mark.skipif(not REAL_MNIST, reason="FASTCONV_DATA does not name a folder with MNIST")
def test_train_and_predict_the_real_mnist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, report_file = tmp_path / "w.safetensors", tmp_path / "run.json"
    words = ["--model", "softmax", "--epochs", "1", "--data", REAL_MNIST, "--out", str(path), "--json", str(report_file)]
    assert main(["train", *words]) == 0
    got = json.loads(report_file.read_text())
    assert got["dataset"] == "mnist"
    assert got["test_accuracy"] > 0.88
    monkeypatch.setenv("FASTCONV_DATA", REAL_MNIST)
    capsys.readouterr()
    assert main(["evaluate", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test_accuracy"] == pytest.approx(got["test_accuracy"], abs=1e-3)
    images = str(Path(REAL_MNIST) / "t10k-images-idx3-ubyte.gz")
    assert main(["predict", str(path), images, "--limit", "4", "--json"]) == 0
    assert [row["class"] for row in json.loads(capsys.readouterr().out)["predictions"]] == [7, 2, 1, 0]


# --- evaluate and predict


def test_evaluate(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = json.loads((weights.parent / "run.json").read_text())
    assert main(["evaluate", str(weights), "--json"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert (got["model"], got["dataset"], got["images"]) == ("softmax", "uci-digits", 360)
    assert got["test_accuracy"] == pytest.approx(run["test_accuracy"])
    assert got["test_loss"] == pytest.approx(run["test_loss"], rel=1e-5)
    assert main(["evaluate", str(weights)]) == 0
    assert f"test accuracy {run['test_accuracy']:.2%}" in capsys.readouterr().out


@pytest.fixture
def digit(tmp_path: Path) -> tuple[Path, int]:
    """A test image of the UCI digits, large, dark on white paper in colour, and its label."""
    from fastconv import data

    images = data.load("uci-digits")
    path = tmp_path / "digit.png"
    bright = Image.fromarray(255 - images.x_test[0, 0])
    bright.resize((80, 80), Image.Resampling.NEAREST).convert("RGB").save(path)
    return path, int(images.y_test[0])


def test_predict_a_picture(weights: Path, digit: tuple[Path, int], capsys: pytest.CaptureFixture[str]) -> None:
    path, label = digit
    assert main(["predict", str(weights), str(path)]) == 0
    line = capsys.readouterr().out.strip()
    assert line.startswith(f"{path}: {label}  ({label}: ")
    assert line.endswith("80x80 pixels made grey, inverted, fitted into 8x8")
    assert main(["predict", str(weights), str(path), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["predictions"][0]
    assert (row["image"], row["class"]) == (str(path), label)
    assert len(row["probabilities"]) == 10
    assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_predict_idx_files(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fastconv import data

    images = data.load("uci-digits")
    content = bytes([0, 0, 8, 3, 0, 0, 0, 20, 0, 0, 0, 8, 0, 0, 0, 8]) + images.x_test[:20].tobytes()
    path = tmp_path / "digits-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(content))
    assert main(["predict", str(weights), str(path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["predictions"]
    assert [row["image"] for row in rows] == [f"{path}[{number}]" for number in range(20)]
    assert sum(row["class"] == label for row, label in zip(rows, images.y_test[:20], strict=True)) >= 17
    assert main(["predict", str(weights), str(path), "--limit", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_predict_mistakes(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, idx_file, cut = tmp_path / "notes.txt", tmp_path / "idx", tmp_path / "cut.png"
    text.write_text("not a picture")
    idx_file.write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2]) + bytes(4))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50), np.uint8)).save(cut)
    cut.write_bytes(cut.read_bytes()[:1000])
    assert f"{tmp_path / 'none'}: there is no such file" in fails(capsys, "predict", weights, tmp_path / "none")
    assert f"{text}: expected a picture" in fails(capsys, "predict", weights, text)
    assert f"{idx_file}: expected (N, 8, 8) of uint8" in fails(capsys, "predict", weights, idx_file)
    assert f"{cut}: the picture is damaged" in fails(capsys, "predict", weights, cut)


def test_weights_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"\x80\x04 a pickle, perhaps")
    assert f"{path}: expected a safetensors file" in fails(capsys, "evaluate", path)
    checkpoint.save(path, {"w": np.zeros(3, np.float32)})
    assert f"{path}: it does not describe its model" in fails(capsys, "evaluate", path)
    nn.Sequential([nn.Dense(3, input_shape=(5,))]).save(path)
    assert f"{path}: expected a model of grey images" in fails(capsys, "predict", path, "x.png")
    nn.Sequential([nn.Flatten(input_shape=(1, 6, 6)), nn.Dense(10)]).save(path)
    assert "expected images of 1x6x6 in 10 classes, but uci-digits has 1x8x8" in fails(capsys, "evaluate", path)
