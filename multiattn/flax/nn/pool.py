"""Pooling of (N, ..., C) along 1 to 3 spatial axes, with PyTorch's windows and bins.

Sizes, strides, paddings and dilations are given once, or once per axis.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .common import PerAxis, to_tuple


@dataclass(frozen=True)
class _Windows:
    """The windows along one axis."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    ceil_mode: bool

    @property
    def span(self) -> int:
        return self.dilation * (self.kernel - 1) + 1

    @property
    def count(self) -> int:
        steps = self.size + 2 * self.padding - self.span
        count = (-(-steps // self.stride) if self.ceil_mode else steps // self.stride) + 1
        # a last window that would begin in the padding at the end is dropped
        return count - ((count - 1) * self.stride >= self.size + self.padding)

    @property
    def ends(self) -> tuple[int, int]:
        after = (self.count - 1) * self.stride + self.span - self.size - self.padding
        return self.padding, max(self.padding, after)


def _windows(
    function: str, x: jax.Array, kernel_size, stride, padding, dilation, ceil_mode
) -> tuple[_Windows, ...]:
    options = (kernel_size, kernel_size if stride is None else stride, padding, dilation, ceil_mode)
    per_axis = (to_tuple(option, x.ndim - 2) for option in options)
    windows = tuple(map(_Windows, x.shape[1:-1], *per_axis))
    if any(axis.padding > axis.span // 2 for axis in windows):
        raise ValueError(
            f"{function}: padding ({padding}) must be at most half of kernel_size ({kernel_size})"
        )
    return windows


def _reduce(x: jax.Array, start: float, function, windows: tuple[_Windows, ...]) -> jax.Array:
    return lax.reduce_window(
        x,
        start,
        function,
        window_dimensions=(1, *(axis.kernel for axis in windows), 1),
        window_strides=(1, *(axis.stride for axis in windows), 1),
        padding=((0, 0), *(axis.ends for axis in windows), (0, 0)),
    )


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _first_max(x: jax.Array, axis: int) -> jax.Array:
    """The largest along an axis; the first of equal ones has the gradient."""
    return x.max(axis)


@_first_max.defjvp
def _first_max_jvp(axis, primals, tangents):
    first = jnp.argmax(*primals, axis, keepdims=True)
    return _first_max(*primals, axis), jnp.take_along_axis(*tangents, first, axis).squeeze(axis)


def amax(x: jax.Array, axis: int | tuple[int, ...], *, keepdims: bool = False) -> jax.Array:
    """The largest along an axis, or along axes that follow each other.

    Of equal ones the first has the gradient. JAX's own looks for what is equal to the largest,
    and under jit may find nothing: what it compares may have been computed once more.
    """
    first, *others = (axis,) if isinstance(axis, int) else axis
    first %= x.ndim
    shape = (*x.shape[:first], -1, *x.shape[first + 1 + len(others) :])
    largest = _first_max(x.reshape(shape), first)
    if not keepdims:
        return largest
    return jnp.expand_dims(largest, tuple(range(first, first + 1 + len(others))))


def slide(
    x: jax.Array, axis: int, kernel: int, stride: int, dilation: int, to: int | None = None
) -> jax.Array:
    """The windows along an axis: their places are a new axis, `to` or behind it."""
    reach = dilation * (kernel - 1)
    length = (x.shape[axis] - reach - 1) // stride * stride + 1
    starts = range(0, reach + 1, dilation)
    return jnp.stack(
        [lax.slice_in_dim(x, i, i + length, stride, axis) for i in starts],
        axis + 1 if to is None else to,
    )


def max_pool(
    x: jax.Array,
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: PerAxis = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> jax.Array:
    """The largest value in each window."""
    windows = _windows("max_pool", x, kernel_size, stride, padding, dilation, ceil_mode)
    if all(axis.dilation == 1 for axis in windows):
        return _reduce(x, -jnp.inf, lax.max, windows)
    x = jnp.pad(x, ((0, 0), *(axis.ends for axis in windows), (0, 0)), constant_values=-jnp.inf)
    for axis, window in reversed(list(enumerate(windows, 1))):
        x = slide(x, axis, window.kernel, window.stride, window.dilation)
        x = _first_max(x, axis + 1)
    return x


@lru_cache
def _window_sizes(windows: tuple[_Windows, ...], count_include_pad: bool) -> np.ndarray:
    """How many places each window averages."""
    sizes = []
    for axis in windows:
        begin = np.arange(axis.count) * axis.stride - axis.padding
        end = np.minimum(begin + axis.kernel, axis.size + axis.padding)
        if not count_include_pad:
            begin, end = np.maximum(begin, 0), np.minimum(end, axis.size)
        sizes.append(end - begin)
    return reduce(np.multiply.outer, sizes)[..., None]


def avg_pool(
    x: jax.Array,
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: PerAxis = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> jax.Array:
    """The mean of each window."""
    windows = _windows("avg_pool", x, kernel_size, stride, padding, 1, ceil_mode)
    sizes = _window_sizes(windows, count_include_pad)
    return _reduce(x, 0.0, lax.add, windows) / jnp.asarray(sizes, x.dtype)


def _bins(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the adaptive bins of an axis begin and end, (count, 1) each."""
    edges = np.arange(count + 1)[:, None] * size
    return edges[:-1] // count, -(-edges[1:] // count)


@lru_cache
def _bin_weights(size: int, count: int) -> np.ndarray:
    begin, end = _bins(size, count)
    places = np.arange(size)
    return ((places >= begin) & (places < end)) / (end - begin)


@lru_cache
def _bin_places(size: int, count: int) -> np.ndarray:
    begin, end = _bins(size, count)
    return np.minimum(begin + np.arange((end - begin).max()), end - 1)


def _axes(x: jax.Array, output_size) -> list[tuple[int, int, int]]:
    """The spatial axes, last first, their sizes and their numbers of bins."""
    rank = x.ndim - 2
    axes = zip(range(1, rank + 1), x.shape[1:-1], to_tuple(output_size, rank), strict=True)
    return [(axis, size, count or size) for axis, size, count in axes][::-1]


def _split(x: jax.Array, axis: int, count: int) -> jax.Array:
    """An axis in bins of one size: their places are a new axis behind it."""
    return x.reshape(*x.shape[:axis], count, -1, *x.shape[axis + 1 :])


def adaptive_avg_pool(x: jax.Array, output_size: int | Sequence[int | None] | None) -> jax.Array:
    """The mean of each of `output_size` bins; None keeps an axis."""
    for axis, size, count in _axes(x, output_size):
        if size % count == 0:
            x = _split(x, axis, count).mean(axis + 1)
        else:
            weights = jnp.asarray(_bin_weights(size, count), x.dtype)
            x = jnp.moveaxis(jnp.tensordot(x, weights, (axis, 1), precision="highest"), -1, axis)
    return x


def adaptive_max_pool(x: jax.Array, output_size: int | Sequence[int | None] | None) -> jax.Array:
    """The largest value in each of `output_size` bins; None keeps an axis."""
    for axis, size, count in _axes(x, output_size):
        even = size % count == 0
        x = _split(x, axis, count) if even else jnp.take(x, _bin_places(size, count), axis)
        x = _first_max(x, axis + 1)
    return x
