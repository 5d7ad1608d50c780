"""What the three processes share: the images, and what an evaluation leaves behind."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

CLASSES = 10
SIZE = 16
TEST_IMAGES = 360
WEIGHTS = "digits.safetensors"


def digits() -> tuple[Array, NDArray[np.int64]]:
    """Scikit-learn's 1,797 handwritten digits, each somewhere on a dark canvas, and their labels.

    The order and the places are fixed; the first ``TEST_IMAGES`` are those to test on.

    Returns:
        images of (N, H, W, 1) between 0 and 1, and labels of (N,).
    """
    from sklearn.datasets import load_digits

    digits, labels = load_digits(return_X_y=True)
    digits = digits.reshape(-1, 8, 8, 1) / 16
    random = np.random.RandomState(0)
    order = random.permutation(len(digits))
    images = np.zeros((len(digits), SIZE, SIZE, 1), "float32")
    places = random.randint(0, SIZE - 8 + 1, (len(digits), 2))
    for image, digit, (top, left) in zip(images, digits[order], places, strict=True):
        image[top : top + 8, left : left + 8] = digit
    return images, labels[order]


def evaluate(
    network: Callable[[Array], tuple[Array, Array, Array]], parameters: int, result: Path
) -> None:
    """Shows a network the test images and stores what it made of them.

    Args:
        network: gives the logits, and what goes into its attention and comes out, channels last.
        parameters: how many it has.
        result: the .npz file.
    """
    images = digits()[0][:TEST_IMAGES]
    network(images)  # compiles
    start = time.perf_counter()
    logits, before, after = network(images)
    seconds = time.perf_counter() - start
    gates = np.divide(after, before, out=np.zeros_like(before), where=before != 0).mean(-1)
    np.savez(result, logits=logits, gates=gates, parameters=parameters, seconds=seconds)
