"""Arithmetic with PyTorch's gradients where it bends."""

from collections.abc import Sequence

from keras import ops

from .common import to_tuple


def absolute(x):
    """The absolute value, whose gradient at 0 is 0."""
    return x * ops.sign(x)


def maximum(x, y):
    """The larger of each two elements; of equal ones each has half of the gradient."""
    return ops.where(ops.equal(x, y), 0.5 * x + 0.5 * y, ops.maximum(x, y))


def std(x, axis: int | Sequence[int], *, keepdims: bool = False):
    """The unbiased standard deviation; where it is 0, so is its gradient."""
    count = 1
    for one in to_tuple(axis, 1):
        count = count * ops.shape(x)[one]
    distance = ops.square(x - ops.mean(x, axis, keepdims=True))
    variance = ops.sum(distance, axis, keepdims=keepdims) / ops.cast(count - 1, x.dtype)
    positive = variance > 0
    return ops.where(positive, ops.sqrt(ops.where(positive, variance, 1.0)), variance)
