"""One epoch of MNIST in fastconv and in PyTorch, the same network and recipe: ``python -m benchmarks.training --data DIR``.

The network is the zoo's mnist-cnn; batch 128, Adam 1e-3.  Every run has a process of its own, since Numba's threads and
PyTorch's disturb each other in one, and the contestants take turns.  PyTorch runs in both layouts, each also with glibc's
allocator told to keep memory, without which much of its time goes into page faults.  What is timed is the epoch alone:
fastconv has compiled before it, PyTorch has made three steps.
"""

from __future__ import annotations

import argparse
import json
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks import record
from fastconv import data, nn, zoo

BATCH, RATE = 128, 1e-3
LAYOUTS = ("contiguous_format", "channels_last")
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "268435456",
}


def ours(images: data.Dataset, epochs: int, seed: int, threads: int) -> dict[str, Any]:
    """Train and test with fastconv."""
    model = zoo.build("mnist-cnn", images.input_shape, images.classes, seed=seed)
    model.compile(nn.Adam(RATE), "sparse_categorical_crossentropy", ["accuracy"], threads=threads)
    history = model.fit(images.x_train, images.y_train, epochs=epochs, batch_size=BATCH, verbose=0)
    return {
        "train_seconds": history.as_dict()["train_seconds"],
        "test_accuracy": model.evaluate(images.x_test, images.y_test)["accuracy"],
    }


def theirs(images: data.Dataset, epochs: int, seed: int, threads: int, layout: str) -> dict[str, Any]:
    """Train and test with PyTorch."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    memory = getattr(torch, layout)
    channels, height, width = images.input_shape
    model = torch.nn.Sequential(
        *(torch.nn.Conv2d(channels, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
        *(torch.nn.Conv2d(32, 64, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
        *(torch.nn.Flatten(), torch.nn.Linear(64 * (height // 4) * (width // 4), 128), torch.nn.ReLU()),
        torch.nn.Linear(128, images.classes),
    ).to(memory_format=memory)
    x, x_test = (
        torch.from_numpy(part.astype(np.float32).reshape(-1, channels, height, width) / np.float32(255))
        for part in (images.x_train, images.x_test)
    )
    y, y_test = (torch.from_numpy(part.astype(np.int64)) for part in (images.y_train, images.y_test))
    optimizer = torch.optim.Adam(model.parameters(), RATE, fused=True)

    def step(chosen: Any) -> None:
        optimizer.zero_grad()
        functional.cross_entropy(model(x[chosen].contiguous(memory_format=memory)), y[chosen]).backward()
        optimizer.step()

    fresh, state = ({name: value.clone() for name, value in model.state_dict().items()}, optimizer.state_dict())
    for first in range(0, 3 * BATCH, BATCH):
        step(torch.arange(first, first + BATCH))
    model.load_state_dict(fresh)
    optimizer.load_state_dict(state)
    start = perf_counter()
    for _ in range(epochs):
        for chosen in torch.randperm(len(x)).split(BATCH):
            step(chosen)
    seconds = perf_counter() - start
    with torch.no_grad():
        right = sum(
            int((model(part.contiguous(memory_format=memory)).argmax(1) == labels).sum())
            for part, labels in zip(x_test.split(1000), y_test.split(1000), strict=True)
        )
    return {"train_seconds": seconds, "test_accuracy": right / len(x_test)}


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs by turns, and the medians of their seconds and accuracies."""
    variants: dict[str, tuple[list[str], dict[str, str]]] = {"fastconv": (["--run", "fastconv"], {})}
    if find_spec("torch"):
        for layout in LAYOUTS:
            variants[f"torch {layout}"] = ["--run", layout], {}
            variants[f"torch {layout}, keeping memory"] = ["--run", layout], KEEP_MEMORY
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
    common = ["--threads", str(arguments.threads), "--epochs", str(arguments.epochs)]
    for number in range(arguments.rounds):
        seed = ["--seed", str(arguments.seed + number)]
        for name, (options, environment) in variants.items():
            where = ["--data", str(arguments.data)] if arguments.data else []
            contestant = record.Contestant("benchmarks.training", [*options, *common, *seed, *where], environment)
            runs[name] += record.interleaved({name: contestant}, 1)[name]
            print(name, runs[name][-1], flush=True)
    result: dict[str, Any] = {
        "dataset": runs["fastconv"][0]["dataset"],
        "recipe": f"mnist-cnn, {arguments.epochs} epoch(s), batch {BATCH}, Adam {RATE}",
        "threads": arguments.threads,
        "train_seconds": {name: record.summary([run["train_seconds"] for run in found]) for name, found in runs.items()},
        "test_accuracy": {name: record.summary([run["test_accuracy"] for run in found]) for name, found in runs.items()},
    }
    others = [entry["median"] for name, entry in result["train_seconds"].items() if name != "fastconv"]
    if others:
        result["fastconv's time as a share of the best other's"] = round(
            result["train_seconds"]["fastconv"]["median"] / min(others), 3
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="a folder with MNIST's four files")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the JSON goes; the repository's results unless given")
    parser.add_argument("--run", choices=("fastconv", *LAYOUTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.run:
        result = compare(arguments)
        print(json.dumps(result, indent=2))
        print(record.write("training", result, arguments.folder))
        return
    input()
    images = data.load(folder=arguments.data)
    options = images, arguments.epochs, arguments.seed, arguments.threads
    run = ours(*options) if arguments.run == "fastconv" else theirs(*options, arguments.run)
    print(json.dumps(run | {"dataset": images.name}), flush=True)


if __name__ == "__main__":
    main()
