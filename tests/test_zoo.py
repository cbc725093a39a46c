"""The zoo: what its models are, that they adapt to their images, and that their recipes teach them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from fastconv import nn, zoo
from fastconv.errors import ArgumentError

PARAMETERS = {"softmax": 7_850, "mlp": 535_818, "lenet5": 61_706, "mnist-cnn": 421_642, "resnet18": 11_172_810}
EPOCHS = {"resnet18": 2}
"""Of the digits; 8 unless said here."""


@pytest.mark.parametrize("name", zoo.MODELS)
def test_sizes(name: str) -> None:
    model = zoo.build(name)
    assert model.parameter_count == PARAMETERS[name]
    assert model.network.output_shape == (10,)
    assert name in zoo.RECIPES


@pytest.mark.parametrize("name", zoo.MODELS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 20)])
def test_models_adapt_to_their_images(name: str, shape: tuple[int, int, int]) -> None:
    model = zoo.build(name, shape, classes=7, seed=4)
    assert model.predict(np.zeros((2, *shape), np.uint8)).shape == (2, 7)


@pytest.mark.parametrize("name", zoo.MODELS)
def test_recipes_learn_real_digits(name: str) -> None:
    digits = load_digits()
    x, y = (digits.images / 16).astype(np.float32), digits.target
    model, recipe = zoo.build(name, (1, 8, 8)), zoo.RECIPES[name]
    model.compile(recipe.make_optimizer())
    history = model.fit(x[:1400], y[:1400], epochs=EPOCHS.get(name, 8), batch_size=32, verbose=0)
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    assert model.evaluate(x[1400:], y[1400:])["accuracy"] > 0.8


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        ArgumentError, match=r"^model: expected one of softmax, mlp, lenet5, mnist-cnn, resnet18, got 'resnet'"
    ):
        zoo.build("resnet")


def test_images_that_are_too_small_name_the_layer() -> None:
    with pytest.raises(ArgumentError, match=r"^maxpool2d_1: .*\(32, 1, 1\)"):
        zoo.build("mnist-cnn", (1, 1, 1))


def test_recipes_make_optimizers() -> None:
    recipe = zoo.Recipe("sgd", learning_rate=0.1, batch_size=8, epochs=2, momentum=0.9)
    assert recipe.make_optimizer() == nn.SGD(0.1, momentum=0.9)
    assert recipe.make_optimizer(learning_rate=0.2) == nn.SGD(0.2, momentum=0.9)
    assert recipe.make_optimizer("adam") == nn.Adam()
    with pytest.raises(ArgumentError, match=r"^optimizer: expected one of sgd, adam"):
        recipe.make_optimizer("newton")
