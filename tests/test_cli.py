"""The command line: its words, what info and explain print, and that every mistake ends with one line and exit code 2."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import fails
from fastconv import __version__, nn, zoo
from fastconv.cli import arguments, main, report, tools
from fastconv.errors import ArgumentError

pytestmark = pytest.mark.usefixtures("without_mnist")

COMMANDS = ("train", "evaluate", "predict", "info", "warmup", "explain")


# --- help and mistakes in the words


@pytest.mark.parametrize("words", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 0
    assert f"usage: fastconv{'' if len(words) == 1 else ' ' + words[0]} " in capsys.readouterr().out


def test_help_names_every_model() -> None:
    """The words are repeated there so that no help has to wait for the zoo."""
    assert arguments.MODELS.replace(" or ", ", ").split(", ") == list(zoo.MODELS)


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
        (["train", "--out", ""], "argument --out: expected a file's name, got nothing"),
        (["train", "--json", ""], "argument --json: expected a file's name, got nothing"),
        (["train", "--optimizer", "lbfgs"], "argument --optimizer: invalid choice: 'lbfgs'"),
        (["train", "--target", "tpu"], "argument --target: invalid choice: 'tpu'"),
        (["train", "--model", "resnet"], "--model: expected one of softmax, mlp, lenet5, mnist-cnn, resnet18, got 'resnet'"),
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
    # A shell starts what runs in the background with Ctrl-C ignored, and children inherit that.
    script = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from fastconv import cli; sys.exit(cli.main())"
    )
    command = [sys.executable, "-c", script, *words]
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


def test_a_file_that_may_not_be_read(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "digit.png")

    monkeypatch.setattr(tools, "explain", refuse)
    assert "Permission denied: 'digit.png'" in fails(capsys, "explain", "c1", "k1", "5x5", "3x3")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device here that is always full")
def test_a_full_disk_beneath_the_output() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "fastconv", "explain", "c1", "k1", "5x5", "3x3", "--target", "numpy"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert re.fullmatch(r"fastconv: error: .*No space left on device\n", done.stderr)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGPIPE")
def test_a_reader_that_leaves() -> None:
    command = f"{sys.executable} -m fastconv explain c1 k1 5x5 3x3 --target numpy | true"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert done.stderr == ""
