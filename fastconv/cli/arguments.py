"""The words of the command line.  Nothing is imported here that a ``--help`` would have to wait for."""

from __future__ import annotations

import argparse
from typing import NoReturn, TypeAlias

from fastconv import __version__

MODELS = "softmax, mlp, lenet5, mnist-cnn or resnet18"


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, and where help is."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"fastconv: error: {message} (try: {self.prog} --help)\n")


def parser() -> Parser:
    """The parser; what it gives has ``command``, the function to call with it, and ``module`` of ``fastconv.cli``."""
    main = Parser(prog="fastconv", description="Convolutional networks on kernels in pure Python and Numba.")
    main.add_argument("--version", action=_Version, help="print the version and leave")
    commands = main.add_subparsers(metavar="COMMAND", required=True)
    _train(commands)
    _evaluate(commands)
    _predict(commands)
    _info(commands)
    _warmup(commands)
    _explain(commands)
    _tune(commands)
    _bench(commands)
    return main


class _Version(argparse.Action):
    def __init__(self, option_strings: list[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(f"fastconv {__version__}")
        parser.exit()


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def _command(commands: Commands, name: str, module: str, summary: str, details: str = "") -> Parser:
    command: Parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. {details}",
    )
    command.set_defaults(command=name, module=module)
    return command


def _count(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text!r}")


def _seed(text: str) -> int:
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"expected an integer of at least 0, got {text!r}")


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if 0 <= rate < float("inf"):
        return rate
    raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text!r}")


def _file(text: str) -> str:
    if text:
        return text
    raise argparse.ArgumentTypeError("expected a file's name, got nothing")  # an unset variable would lose the training


def _machine(command: Parser) -> None:
    group = command.add_argument_group("where it runs")
    group.add_argument("--threads", type=_count, metavar="N", help="threads of the kernels (default: all cores)")
    group.add_argument("--target", choices=("auto", "cpu", "numpy", "cuda"), help="numpy is the slow reference")


def _data(command: Parser) -> None:
    command.add_argument(
        "--data",
        metavar="DIR",
        help="folder with the four files of MNIST, compressed or not (default: FASTCONV_DATA, else the user's cache, "
        "else a download, else the small UCI digits)",
    )


def _train(commands: Commands) -> None:
    command = _command(commands, "train", "train", "train a network on handwritten digits and test it")
    command.add_argument("--model", default="mnist-cnn", metavar="NAME", help=f"{MODELS} (default: mnist-cnn)")
    _data(command)
    command.add_argument("--epochs", type=_count, metavar="N", help="default: the model's own, 1 to 5; 40 for the UCI digits")
    command.add_argument("--batch-size", type=_count, metavar="N", help="default: the model's own, 64 or 128")
    command.add_argument("--lr", type=_rate, metavar="X", help="learning rate (default: 0.001 for adam, 0.01 for sgd)")
    command.add_argument("--optimizer", choices=("adam", "sgd"), help="sgd with momentum 0.9 (default: the model's own, adam)")
    command.add_argument("--seed", type=_seed, default=0, metavar="N", help="of weights and order of images (default: 0)")
    command.add_argument("--out", type=_file, metavar="FILE", help="write the weights there (safetensors)")
    command.add_argument("--json", type=_file, metavar="FILE", help="write times, accuracy and history there")
    _machine(command)


def _evaluate(commands: Commands) -> None:
    command = _command(commands, "evaluate", "inference", "measure saved weights on the test images")
    command.add_argument("weights", metavar="WEIGHTS", help="what train --out has written")
    _data(command)
    command.add_argument("--batch-size", type=_count, default=128, metavar="N", help="default: 128")
    command.add_argument("--json", action="store_true", help="print JSON")
    _machine(command)


def _predict(commands: Commands) -> None:
    command = _command(
        commands,
        "predict",
        "inference",
        "say which digit each image shows",
        "Pictures are made grey, inverted if they are dark on bright (the networks learn bright on dark), and fitted into the "
        "model's input, keeping their proportions; what was done is said for each. IDX files are taken as they are.",
    )
    command.add_argument("weights", metavar="WEIGHTS", help="what train --out has written")
    command.add_argument("images", metavar="IMAGE", nargs="+", help="PNG, JPEG, … or IDX, compressed or not")
    command.add_argument(
        "--invert", choices=("auto", "yes", "no"), default="auto", help="auto: if the picture's edge is bright"
    )
    command.add_argument("--limit", type=_count, metavar="N", help="only the first N images of each IDX file")
    command.add_argument("--json", action="store_true", help="print JSON")
    _machine(command)


def _info(commands: Commands) -> None:
    command = _command(commands, "info", "tools", "list the kernels and what this machine offers them")
    command.add_argument("--json", action="store_true", help="print JSON")


def _warmup(commands: Commands) -> None:
    command = _command(
        commands,
        "warmup",
        "tools",
        "compile the kernels ahead, into the user's cache",
        "Kernels for CUDA are compiled on any machine that has the extra cuda13, with a GPU or without.",
    )
    command.add_argument("--target", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    command.add_argument("--arch", metavar="NAMES", help="for cuda: sm_80, sm_90a, …, with commas (default: the GPU's here)")
    command.add_argument(
        "--precisions", metavar="NAMES", default="fp32,tf32", help="for cuda; also bf16, fp16 (default: fp32,tf32)"
    )


SHAPES = (
    "A shape is written as n64 c32 28x28 k64 3x3 p1 s1: images, channels, height x width, kernels, their height x width; "
    "then, as needed, p padding (p1, p1x2, psame), s stride, d dilation, g groups, float64, nhwc."
)


def _direction(command: Parser) -> None:
    command.add_argument("--direction", choices=("forward", "backward_input", "backward_weight"), help="default: all three")


def _explain(commands: Commands) -> None:
    command = _command(
        commands,
        "explain",
        "tools",
        "say which kernel computes a convolution, or each layer of a model, and why not the others",
        SHAPES + " A pooling: max, or average, n64 c32 28x28 2x2 s2. A matrix product: MxNxK, as 512x512x512.",
    )
    command.add_argument(
        "shape", metavar="SHAPE", nargs="+", help=f'as "n64 c32 28x28 k64 3x3 p1"; or a saved model, or {MODELS}'
    )
    _direction(command)
    _of_model(command)
    group = command.add_argument_group("what is shown besides")
    group.add_argument("--roofline", action="store_true", help="of a shape: the least time that this machine allows, measured")
    group.add_argument("--source", action="store_true", help="the Python functions that are compiled")
    group.add_argument("--asm", action="store_true", help="the main loops of the machine code, and what they consist of")
    group.add_argument("--ptx", action="store_true", help='the same for a GPU, of PTX; needs no GPU (pip install ".[cuda13]")')
    _machine(command)


def _of_model(command: Parser) -> None:
    command.add_argument("--training", action="store_true", help="of a model: what a training step computes")
    command.add_argument("--batch", type=_count, default=16, metavar="N", help="images, of a model (default: 16)")


def _tune(commands: Commands) -> None:
    command = _command(
        commands,
        "tune",
        "tune",
        "measure which kernel is the fastest for given convolutions, or a model, here, and keep the winners",
        f"{SHAPES} Quote each. The winners are kept for this machine, where FASTCONV_TUNING says or in the user's cache; "
        "calls of the same shape, threads and accuracy then take the fastest kernel.",
    )
    command.add_argument("shape", metavar="SHAPE", nargs="*", help='as "n16 c64 56x56 k64 3x3 p1"')
    command.add_argument("--shapes", type=_file, metavar="FILE", help="a file with a shape a line; # begins a comment")
    command.add_argument("--model", type=_file, metavar="NAME", help=f"instead of shapes: a file of weights, or {MODELS}")
    _of_model(command)
    _direction(command)
    command.add_argument("--threads", type=_count, metavar="N", help="threads of the kernels (default: all cores)")
    command.add_argument("--accuracy", choices=("fast", "precise", "exact"), default="fast", help="default: fast")
    command.add_argument("--json", type=_file, metavar="FILE", help="write the measurements there")


def _bench(commands: Commands) -> None:
    command = _command(
        commands,
        "bench",
        "bench",
        "measure kernels against other libraries and against what this machine can do",
        "Every result is verified before it is timed, and the contestants take turns. " + SHAPES,
    )
    command.add_argument(
        "what",
        metavar="WHAT",
        nargs="?",
        default="all",
        choices=(*WHAT, "all"),
        help=f"{', '.join(WHAT)} or all (the default)",
    )
    command.add_argument(
        "--shapes", metavar="LIST", help="networks (lenet5,alexnet,…), a file with a shape a line, or a shape in quotes"
    )
    command.add_argument("--direction", choices=("forward", "backward_input", "backward_weight"), help="default: all")
    command.add_argument("--algorithm", metavar="NAME", help='ours to be measured instead of the chosen one, or "all"')
    command.add_argument(
        "--targets", "--target", metavar="LIST", default="cpu", help="where ours run: cpu, cuda or cpu,cuda (default: cpu)"
    )
    command.add_argument("--precision", metavar="NAME", help="on cuda: fp32 (the default), tf32, bf16 or fp16")
    command.add_argument(
        "--against", metavar="LIST", default="torch,numpy", help="torch, numpy, scipy, cupy (default: torch,numpy)"
    )
    command.add_argument("--threads", type=_counts, metavar="LIST", help="1, 2 or 1,2 (default: all cores)")
    command.add_argument("--batch", type=_count, metavar="N", help="images, instead of those that a shape says")
    command.add_argument("--quick", action="store_true", help="fewer shapes and shorter samples")
    command.add_argument("--report", type=_file, metavar="FILE", help="write a page with pictures there (HTML)")
    command.add_argument("--json", type=_file, metavar="FILE", help="write the rows there")
    command.add_argument(
        "--compare",
        nargs=2,
        metavar=("A.json", "B.json"),
        help="say what became slower from A to B; exit code 1 if anything did",
    )


WHAT = ("conv", "pool", "matmul", "elementwise", "train")


def _counts(text: str) -> str:
    if all(word.isdecimal() and int(word) > 0 for word in text.split(",")):
        return text
    raise argparse.ArgumentTypeError(f"expected integers of at least 1 with commas between them, got {text!r}")
