"""Pooling over (N, ..., C) of 1 to 3 spatial axes, with PyTorch's windows and bins."""

from collections.abc import Callable, Sequence

from keras import ops

from .common import PerAxis, pad_all, slide, to_tuple


def max_pool(
    x,
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: PerAxis = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
):
    """The largest value in each window.

    Args:
        x: (N, ..., C) with 1 to 3 spatial axes.
        kernel_size: size of the window, once or per axis, as all that follows.
        stride: step of the window, by default its size.
        padding: what is added at both ends (it never wins).
        dilation: distance between a window's places.
        ceil_mode: whether a last window may reach over the end.
    """
    rank = len(x.shape) - 2
    kernel, padding, dilation = (to_tuple(v, rank) for v in (kernel_size, padding, dilation))
    stride = kernel if stride is None else to_tuple(stride, rank)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    margins = _margins("max_pool", spans, stride, padding, ceil_mode)
    x = _padded(x, margins, -float("inf"))
    if max(dilation) == 1:
        return _pool(ops.max_pool, x, kernel, stride)
    for axis in range(rank, 0, -1):
        window = (kernel[axis - 1], stride[axis - 1], dilation[axis - 1])
        x = _first_max(slide(x, axis, *window), axis + 1)
    return x


def avg_pool(
    x,
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: PerAxis = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
):
    """The mean of each window.

    Args:
        x: (N, ..., C) with 1 to 3 spatial axes.
        kernel_size: size of the window, once or per axis, as all that follows.
        stride: step of the window, by default its size.
        padding: zeros added at both ends.
        ceil_mode: whether a last window may reach over the end.
        count_include_pad: whether the mean counts the padding (never what is beyond it).
    """
    rank = len(x.shape) - 2
    kernel, padding = to_tuple(kernel_size, rank), to_tuple(padding, rank)
    stride = kernel if stride is None else to_tuple(stride, rank)
    margins = _margins("avg_pool", kernel, stride, padding, ceil_mode)
    counted = [(p, p) if count_include_pad else (0, 0) for p in padding]
    means = _pool(ops.average_pool, _padded(x, margins, 0.0), kernel, stride)
    if margins == counted:
        return means
    rest = [(m[0] - c[0], m[1] - c[1]) for m, c in zip(margins, counted, strict=True)]
    ones = _padded(_padded(ops.ones_like(x[:1, ..., :1]), counted, 1.0), rest, 0.0)
    return means / _pool(ops.average_pool, ones, kernel, stride)


def adaptive_avg_pool(x, output_size: int | Sequence[int | None]):
    """The mean of each of `output_size` bins (once or per axis; None keeps an axis)."""
    rank = len(x.shape) - 2
    for axis, count in enumerate(to_tuple(output_size, rank), 1):
        shape = ops.shape(x)
        size = shape[axis]
        if count is None:
            continue
        if isinstance(size, int) and isinstance(count, int) and size % count == 0:
            bins = (*shape[:axis], count, size // count, *shape[axis + 1 :])
            x = ops.mean(ops.reshape(x, bins), axis + 1)
        else:
            begin, end = _bins(size, count)
            places = ops.arange(size, dtype="int32")
            weights = ops.cast((places >= begin) & (places < end), x.dtype)
            weights /= ops.cast(end - begin, x.dtype)
            axes = "nabcd"[: rank + 1] + "z"
            x = ops.einsum(f"{axes},o{axes[axis]}->{axes.replace(axes[axis], 'o')}", x, weights)
    return x


def adaptive_max_pool(x, output_size: int | Sequence[int | None]):
    """The largest value of each of `output_size` bins (once or per axis; None keeps an axis)."""
    sizes = to_tuple(output_size, len(x.shape) - 2)
    for axis, count in reversed(list(enumerate(sizes, 1))):
        if count is not None:
            size = ops.shape(x)[axis]
            begin, end = _bins(size, count)
            places = begin + ops.arange(size // count + 2, dtype="int32")
            x = _first_max(ops.take(x, ops.minimum(places, end - 1), axis), axis + 1)
    return x


def amax(x, axis: int | tuple[int, ...], *, keepdims: bool = False):
    """The largest along an axis, or along axes that follow each other.

    Of equal ones the first has the gradient. JAX's own looks for what is equal to the largest,
    and under jit may find nothing: what it compares may have been computed once more.
    """
    first, *others = (axis,) if isinstance(axis, int) else axis
    first %= len(x.shape)
    shape = ops.shape(x)
    if others:
        x = ops.reshape(x, (*shape[:first], -1, *shape[first + 1 + len(others) :]))
    largest = _first_max(x, first)
    if keepdims:
        for place in range(first, first + 1 + len(others)):
            largest = ops.expand_dims(largest, place)
    return largest


def _margins(function: str, spans, stride, padding, ceil_mode: bool) -> list[tuple[int, int]]:
    """The padding before and after: windows begin within the input or the padding before it."""
    for span, p in zip(spans, padding, strict=True):
        if 2 * p > span:
            raise ValueError(
                f"{function}: padding ({p}) must be at most half of the window ({span})"
            )
    return [
        (p, min(p + s - 1, span - 1) if ceil_mode else p)
        for span, s, p in zip(spans, stride, padding, strict=True)
    ]


def _padded(x, margins: list[tuple[int, int]], value: float):
    return pad_all(x, [(0, 0), *margins, (0, 0)], value)


def _pool(function: Callable, x, kernel: tuple[int, ...], stride: tuple[int, ...]):
    """Keras's pooling; of three axes the first apart, as TensorFlow wants it in float64."""
    if len(kernel) < 3:
        return function(x, kernel, stride, padding="valid", data_format="channels_last")
    n, depth, h, w, c = ops.shape(x)
    x = _pool(function, ops.reshape(x, (n * depth, h, w, c)), kernel[1:], stride[1:])
    _, h, w, _ = ops.shape(x)
    x = ops.reshape(x, (n, depth, h * w, c))
    x = _pool(function, x, (kernel[0], 1), (stride[0], 1))
    return ops.reshape(x, (n, ops.shape(x)[1], h, w, c))


def _bins(size, count):
    """Where the adaptive bins of an axis begin and end, (count, 1) each."""
    steps = ops.arange(count, dtype="int32")[:, None] * size
    return steps // count, (steps + size + count - 1) // count


def _first_max(x, axis: int):
    """The largest along an axis, which goes; of equal ones the first has the gradient."""
    first = ops.argmax(x, axis, keepdims=True)
    places = ops.arange(ops.shape(x)[axis], dtype=first.dtype)
    places = ops.reshape(places, (-1,) + (1,) * (len(x.shape) - axis - 1))
    return ops.sum(ops.where(places == first, x, 0.0), axis)
