"""The command line: what it prints and writes, and that every mistake ends with one line and exit code 2."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastconv import __version__, nn
from fastconv.cli import arguments, main, report
from fastconv.errors import ArgumentError
from fastconv.nn import checkpoint

COMMANDS = ("train", "evaluate", "predict", "info", "warmup", "explain")


@pytest.fixture(autouse=True)
def without_mnist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every command here runs on the UCI digits unless it says otherwise; kernels stay where they are cached."""
    monkeypatch.delenv("FASTCONV_DATA", raising=False)
    monkeypatch.setenv("FASTCONV_OFFLINE", "1")
    monkeypatch.setattr("fastconv.data.mnist.user_folder", lambda: tmp_path / "no-mnist")


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


def fails(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line that a command fails with."""
    try:
        code = main(list(map(str, words)))
    except SystemExit as error:
        code = error.code  # type: ignore[assignment]
    printed = capsys.readouterr()
    assert code == 2
    lines = [line for line in printed.err.splitlines() if not line.startswith("data: ")]
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("fastconv: error: ")
    assert printed.out == ""
    return lines[0].removeprefix("fastconv: error: ")


# --- help and mistakes in the words


@pytest.mark.parametrize("words", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 0
    assert f"usage: fastconv{'' if len(words) == 1 else ' ' + words[0]} " in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"fastconv {__version__}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "the following arguments are required: COMMAND (try: fastconv --help)"),
        (["learn"], "argument COMMAND: invalid choice: 'learn'"),
        (["train", "--epochs", "0"], "argument --epochs: expected an integer of at least 1, got '0'"),
        (["train", "--batch-size", "many"], "argument --batch-size: expected an integer of at least 1, got 'many'"),
        (["train", "--lr", "nan"], "argument --lr: expected a number of at least 0, got 'nan'"),
        (["train", "--lr", "fast"], "argument --lr: expected a number of at least 0, got 'fast'"),
        (["train", "--seed", "-1"], "argument --seed: expected"),
        (["train", "--optimizer", "lbfgs"], "argument --optimizer: invalid choice: 'lbfgs'"),
        (["train", "--target", "tpu"], "argument --target: invalid choice: 'tpu'"),
        (["train", "--model", "resnet"], "--model: expected one of softmax, mlp, lenet5, mnist-cnn, got 'resnet'"),
        (["train", "--threads", "9999"], "threads: expected at most"),
        (["train", "--target", "cuda"], "target: cuda cannot be used: "),
        (["train", "--data", "/no/such/folder"], "/no/such/folder: expected a folder with the four files of MNIST"),
        (["train", "--out", "/no/such/folder/w"], "/no/such/folder/w: cannot write weights there"),
        (["train", "--json", "/no/such/folder/j"], "--json: /no/such/folder/j cannot be written"),
        (["evaluate", "/no/such/weights"], "/no/such/weights: there is no such weights file"),
        (["predict", "/no/such/weights", "x.png"], "/no/such/weights: there is no such weights file"),
        (["predict", "weights"], "the following arguments are required: IMAGE"),
        (["explain", "n64"], "SHAPE: expected c, k, image HxW, kernel RxS in 'n64'"),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], words: list[str], expected: str) -> None:
    assert expected in fails(capsys, *words)


@pytest.mark.parametrize(
    ("name", "value"),
    [("FASTCONV_THREADS", "9999"), ("FASTCONV_THREADS", "two"), ("FASTCONV_TARGET", "tpu"), ("FASTCONV_TARGET", "cuda")],
)
def test_mistakes_in_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    line = fails(capsys, "train", "--model", "softmax")
    assert name.removeprefix("FASTCONV_").lower() in line.lower()
    assert value in line


def test_paths_are_checked_before_the_training(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("it began to train")

    monkeypatch.setattr(nn.Sequential, "fit", never)
    for option in ("--out", "--json"):
        assert "it is a folder" in fails(capsys, "train", option, tmp_path)


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


@pytest.mark.skipif(not os.environ.get("FASTCONV_DATA"), reason="FASTCONV_DATA does not name a folder with MNIST")
def test_train_and_predict_the_real_mnist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], real_mnist: str
) -> None:
    path, report_file = tmp_path / "w.safetensors", tmp_path / "run.json"
    words = ["--model", "softmax", "--epochs", "1", "--data", real_mnist, "--out", str(path), "--json", str(report_file)]
    assert main(["train", *words]) == 0
    got = json.loads(report_file.read_text())
    assert got["dataset"] == "mnist"
    assert got["test_accuracy"] > 0.88
    monkeypatch.setenv("FASTCONV_DATA", real_mnist)
    capsys.readouterr()
    assert main(["evaluate", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test_accuracy"] == pytest.approx(got["test_accuracy"], abs=1e-3)
    images = str(Path(real_mnist) / "t10k-images-idx3-ubyte.gz")
    assert main(["predict", str(path), images, "--limit", "4", "--json"]) == 0
    assert [row["class"] for row in json.loads(capsys.readouterr().out)["predictions"]] == [7, 2, 1, 0]


@pytest.fixture
def real_mnist() -> str:
    """The folder that FASTCONV_DATA names outside of the tests."""
    return REAL_MNIST


REAL_MNIST = os.environ.get("FASTCONV_DATA", "")


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


# --- info, warmup, explain


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    got = json.loads(capsys.readouterr().out)
    names = [kernel["name"] for kernel in got["kernels"]]
    assert "conv_forward__reference_numpy" in names
    assert all(kernel["available"] or kernel["reason"] for kernel in got["kernels"])
    assert got["machine"]["threads"] >= 1
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in names)
    for part in (got["machine"]["cpu"], got["machine"]["cache"], got["versions"]["numba"], "cuda: "):
        assert part in text


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "n2 c3 8x8", "k4", "3x3", "p1", "--target", "numpy"]) == 0
    text = capsys.readouterr().out
    for direction in ("forward", "backward_input", "backward_weight"):
        assert f"chosen conv_{direction}__reference_numpy" in text
    assert main(["explain", "n2 c3 8x8 k4 3x3", "--direction", "backward_input", "--target", "numpy"]) == 0
    assert "conv_forward" not in capsys.readouterr().out


# --- what holds for every command


def test_json_has_no_nan() -> None:
    value = {"a": float("nan"), "b": [1.5, float("inf")], "c": (1, "x")}
    assert json.loads(report.as_json(value)) == {"a": None, "b": [1.5, None], "c": [1, "x"]}


def test_parser_imports_nothing_slow() -> None:
    program = "import sys, fastconv.cli.arguments; print(sorted({'numba', 'sklearn', 'rich', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert arguments.parser().parse_args(["info"]).command == "info"


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fastconv", *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def test_processes_give_the_exit_codes(tmp_path: Path) -> None:
    done = run("evaluate", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"fastconv: error: {tmp_path / 'none'}: there is no such weights file\n"
    done = run("explain", "c1 k1 5x5 3x3", "--target", "numpy", "--direction", "forward")
    assert done.returncode == 0
    assert "conv_forward__reference_numpy" in done.stdout
    done = run("info", FASTCONV_LANES="5")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fastconv: error: FASTCONV_LANES: expected one of (4, 8, 16), got '5'\n"


def test_errors_of_several_lines_become_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ArgumentError("first:\n  second\n  third")

    monkeypatch.setattr("fastconv.cli.tools.info", refuse)
    assert fails(capsys, "info") == "first:; second; third"


def test_warnings_are_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    def warn(*_: object) -> None:
        warnings.warn("the disk is nearly full", RuntimeWarning, stacklevel=1)

    monkeypatch.setattr("fastconv.cli.tools.info", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["info"]) == 0
    assert capsys.readouterr().err == "fastconv: warning: the disk is nearly full\n"


def test_interrupting(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fastconv.cli.tools.info", interrupt)
    assert main(["info"]) == 130
    assert capsys.readouterr().err == "fastconv: interrupted\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_interrupting_a_training(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"the weights of yesterday")
    words = ["train", "--model", "softmax", "--epochs", "1000000", "--out", str(path)]
    command = [sys.executable, "-m", "fastconv", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 1/"):
                break
        process.send_signal(signal.SIGINT)
        *_, last = process.stderr
        assert process.wait() == 130
    assert last == "fastconv: interrupted\n"
    assert path.read_bytes() == b"the weights of yesterday"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGPIPE")
def test_a_reader_that_leaves() -> None:
    command = f"{sys.executable} -m fastconv explain c1 k1 5x5 3x3 --target numpy | true"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert done.stderr == ""
