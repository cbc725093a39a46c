"""MNIST on a GPU from end to end: epochs of mnist-cnn with Adam, ours against PyTorch's eager mode, both in float32.

By the host's clock: an epoch begins with the data set on the device and ends when the host knows its loss.  Of several epochs
the fastest counts, so that compiling and recording the step do not.

NOT YET RUN ON HARDWARE: written against PyTorch 2.
"""

from __future__ import annotations

from importlib.util import find_spec
from time import perf_counter
from typing import Any

import numpy as np

from fastconv import zoo
from fastconv.bench.cases import Training
from fastconv.data import Dataset, load
from fastconv.warming_cuda import train

MODEL, BATCH, EPOCHS = "mnist-cnn", 128, 4

Row = dict[str, Any]
ABOUT: Row = {"suite": "training", "kernel": f"training {MODEL}", "precision": "fp32"}


class Item:
    """Training, as ``flow`` measures it."""

    about = ABOUT | {"case": f"MNIST, batch {BATCH}"}

    def start(self) -> None:
        """One batch of each size."""
        train(MODEL, "fp32")

    def measured(self, clock: Any, rounds: int) -> Row:
        """Seconds of an epoch, ours and PyTorch's where that is installed, and how well ours has learned."""
        images = load()
        model = zoo.build(MODEL, images.input_shape, images.classes)
        model.compile(zoo.RECIPES[MODEL].make_optimizer(), target="cuda")
        history = model.fit(images.x_train, images.y_train, EPOCHS, BATCH, verbose=0)
        row: Row = {"case": f"{images.name}, batch {BATCH}", "epochs": EPOCHS, "compiled s": history.compile_seconds}
        row |= {"test": model.evaluate(images.x_test, images.y_test), "seconds": {"fastconv": min(history.epoch_seconds)}}
        if find_spec("torch"):
            row["seconds"]["torch"] = min(_torch(images, EPOCHS))
        return row


def _torch(images: Dataset, epochs: int) -> list[float]:
    """Seconds of PyTorch's epochs."""
    import torch
    from torch.nn.functional import cross_entropy

    from fastconv.bench.contestants.networks import network

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = network(Training(MODEL, BATCH, images.input_shape, images.classes, 1)).cuda()
    optimizer = torch.optim.Adam(model.parameters(), zoo.RECIPES[MODEL].learning_rate)
    x, y = (torch.from_numpy(np.ascontiguousarray(values)).cuda() for values in (images.x_train, images.y_train))
    seconds = []
    for _ in range(epochs):
        torch.cuda.synchronize()
        began, total = perf_counter(), torch.zeros((), device="cuda")
        for chosen in torch.randperm(len(x), device="cuda").split(BATCH):
            optimizer.zero_grad(set_to_none=True)
            loss = cross_entropy(model(x[chosen].float() / 255), y[chosen])
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(chosen)
        total.item()
        seconds.append(perf_counter() - began)
    return seconds


def line(row: Row) -> str:
    """A row for people."""
    seconds = row["seconds"]
    others = "".join(f"  {seconds[peer] / seconds['fastconv']:.2f} x {peer}" for peer in seconds if peer != "fastconv")
    return f"{seconds['fastconv']:.3f} s an epoch, test accuracy {row['test']['accuracy']:.2%}{others}"
