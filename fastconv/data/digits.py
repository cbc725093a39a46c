"""1,797 real handwritten digits of 8x8 pixels that arrive with scikit-learn: for when MNIST cannot be had.

References
----------
Alpaydin, Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
"""

from __future__ import annotations

import numpy as np

from fastconv.data.dataset import Dataset
from fastconv.errors import DataNotFoundError

TEST = 360
"""Images kept for testing, a fifth."""


def load(reason: str = "it was asked for") -> Dataset:
    """The UCI digits, split into 1,437 for training and 360 for testing, the same way every time.

    Parameters
    ----------
    reason : str
        Why this data set; a part of the sentence in ``origin``.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataNotFoundError("uci-digits: they come with scikit-learn, which is not installed") from error
    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]  # strokes are counts from 0 to 16
    labels = bunch.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(images))
    test, train = order[:TEST], order[TEST:]
    return Dataset(
        "uci-digits",
        images[train],
        labels[train],
        images[test],
        labels[test],
        classes=10,
        origin=f"UCI digits (1,797 real handwritten digits of 8x8 pixels, from scikit-learn), because {reason}",
    )
