"""Functions that move values in space: padding, resizing, sampling, patches."""

import math
from collections.abc import Sequence
from fractions import Fraction

from keras import ops
from keras.backend import result_type

from .common import PerAxis, check_choice, pad_all, slide, spread, to_tuple
from .pool import adaptive_avg_pool

PAD_MODES = ("zeros", "reflect", "replicate", "circular")
_INTERPOLATIONS = ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area")


def pixel_shuffle(x, factor: int):
    """(N, H, W, C · factor²) -> (N, H · factor, W · factor, C)."""
    n, h, w, c = ops.shape(x)
    c //= factor**2
    x = ops.transpose(ops.reshape(x, (n, h, w, c, factor, factor)), (0, 1, 4, 2, 5, 3))
    return ops.reshape(x, (n, h * factor, w * factor, c))


def pixel_unshuffle(x, factor: int):
    """(N, H · factor, W · factor, C) -> (N, H, W, C · factor²)."""
    n, h, w, c = ops.shape(x)
    h, w = h // factor, w // factor
    x = ops.transpose(ops.reshape(x, (n, h, factor, w, factor, c)), (0, 1, 3, 5, 2, 4))
    return ops.reshape(x, (n, h, w, c * factor**2))


def channel_shuffle(x, groups: int):
    """Takes the channels of (N, ..., groups · C) from the groups in turn."""
    shape = ops.shape(x)
    x = ops.reshape(x, (*shape[:-1], groups, shape[-1] // groups))
    return ops.reshape(ops.swapaxes(x, -1, -2), shape)


def flatten(x):
    """(N, ..., C) -> (N, C · ...), the channel slowest, as PyTorch flattens its images."""
    x = ops.moveaxis(x, -1, 1)
    size = None if None in x.shape[1:] else math.prod(x.shape[1:])
    return ops.reshape(x, (-1, size) if size else (ops.shape(x)[0], -1))


def neighbourhoods(
    x,
    kernel_size: PerAxis,
    *,
    dilation: PerAxis = 1,
    padding: PerAxis = 0,
    stride: PerAxis = 1,
    padding_mode: str = "zeros",
):
    """The windows of images, (N, H, W, C) -> (N, H', W', kh · kw, C).

    Args:
        x: (N, H, W, C).
        kernel_size: size of the windows, once or per axis, as all that follows.
        dilation: distance between a window's places.
        padding: what is added at both ends.
        stride: step of the windows.
        padding_mode: zeros, reflect, replicate or circular.
    """
    kernel, dilation, padding, stride = (
        to_tuple(value, 2) for value in (kernel_size, dilation, padding, stride)
    )
    x = pad(x, [(p, p) for p in padding], mode=padding_mode)
    x = slide(x, 2, kernel[1], stride[1], dilation[1])
    x = slide(x, 1, kernel[0], stride[0], dilation[0], to=3)
    n, h, w, kh, kw, c = ops.shape(x)
    return ops.reshape(x, (n, h, w, kh * kw, c))


def unfold(
    x, kernel_size: PerAxis, *, dilation: PerAxis = 1, padding: PerAxis = 0, stride: PerAxis = 1
):
    """Patches, (N, H, W, C) -> (N, places, C · kh · kw), the channel slowest."""
    x = neighbourhoods(x, kernel_size, dilation=dilation, padding=padding, stride=stride)
    n, h, w, places, c = ops.shape(x)
    return ops.reshape(ops.swapaxes(x, 3, 4), (n, h * w, c * places))


def fold(
    x,
    output_size: Sequence[int],
    kernel_size: PerAxis,
    *,
    dilation: PerAxis = 1,
    padding: PerAxis = 0,
    stride: PerAxis = 1,
):
    """Sums overlapping patches, (N, places, C · kh · kw) -> (N, H, W, C): unfold's adjoint."""
    options = (to_tuple(value, 2) for value in (kernel_size, dilation, padding, stride))
    axes = list(zip(output_size, *options, strict=True))
    places = [(size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, d, p, s in axes]
    kh, kw = to_tuple(kernel_size, 2)
    n, _, width = ops.shape(x)
    x = ops.reshape(x, (n, *places, width // (kh * kw), kh, kw))
    for axis, (size, k, d, p, s) in enumerate(axes, 1):
        taps = []
        for i, tap in enumerate(ops.unstack(x, k, 4)):
            widths = [(0, 0)] * len(tap.shape)
            widths[axis] = (i * d, (k - 1 - i) * d)
            taps.append(pad_all(spread(tap, axis, s), widths))
        x = sum(taps)[(slice(None),) * axis + (slice(p, p + size),)]
    return x


def pad(x, padding: Sequence[tuple[int, int]], *, mode: str = "zeros", value: float = 0.0):
    """Pads the spatial axes of (N, ..., C); negative amounts crop, with zeros.

    Args:
        x: (N, ..., C).
        padding: (before, after) per axis.
        mode: zeros, reflect, replicate or circular.
        value: what "zeros" pads with.
    """
    check_choice("pad", "mode", mode, PAD_MODES)
    if mode == "zeros":
        widths = [(max(before, 0), max(after, 0)) for before, after in padding]
        x = pad_all(x, [(0, 0), *widths, (0, 0)], value)
        if min(map(min, padding)) < 0:
            kept = [slice(max(-before, 0), min(after, 0) or None) for before, after in padding]
            x = x[(slice(None), *kept)]
        return x
    for axis, (before, after) in enumerate(padding, 1):
        if before or after:
            size = ops.shape(x)[axis]
            index = ops.arange(-before, size + after, dtype="int32")
            if mode == "reflect":
                index = size - 1 - ops.abs(size - 1 - ops.abs(index))
            elif mode == "replicate":
                index = ops.clip(index, 0, size - 1)
            else:
                index = ops.mod(index, size)
            x = ops.take(x, index, axis)
    return x


def interpolate(
    x,
    size: PerAxis | None = None,
    *,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
):
    """Resizes the spatial axes, without antialiasing.

    Args:
        x: (N, ..., C).
        size: the new size, once or per axis.
        scale_factor: instead of a size, factors that map the coordinates; sizes are rounded down.
        mode: nearest, nearest-exact, linear (also called bilinear, trilinear), bicubic or area.
        align_corners: for linear and bicubic, whether the centres of the outermost places stay.
    """
    check_choice("interpolate", "mode", mode, _INTERPOLATIONS)
    if (size is None) == (scale_factor is None):
        raise ValueError(f"interpolate: give size ({size}) or scale_factor ({scale_factor})")
    rank = len(x.shape) - 2
    factors = to_tuple(scale_factor, rank)
    sizes = to_tuple(size, rank)
    if size is None:
        old_sizes = ops.shape(x)[1:-1]
        sizes = tuple(_scaled(old, factor) for old, factor in zip(old_sizes, factors, strict=True))
    if mode == "area":
        return adaptive_avg_pool(x, sizes)
    dtype = result_type(x.dtype, "float32")
    for axis, (new, factor) in enumerate(zip(sizes, factors, strict=True), 1):
        column = (-1,) + (1,) * (rank + 1 - axis)
        taps = _taps(ops.shape(x)[axis], new, factor, mode, align_corners, dtype)
        x = sum(
            ops.take(x, index, axis) * ops.cast(ops.reshape(weight, column), x.dtype)
            for index, weight in taps
        )
    return x


def _ratio(factor: float) -> tuple[int, int]:
    return Fraction(factor).limit_denominator(10_000).as_integer_ratio()


def _scaled(size, factor: float):
    """The size times the factor, rounded down."""
    if isinstance(size, int):
        return int(size * factor)
    numerator, denominator = _ratio(factor)
    return size * numerator // denominator


def _taps(size, new, factor: float | None, mode: str, align_corners: bool, dtype: str):
    """Places and weights, (new,) each, whose sum resizes an axis."""
    steps = ops.arange(new, dtype="int32")
    if mode.startswith("nearest"):
        shift = 1 if mode == "nearest-exact" else 0
        numerator, denominator = (new, size) if factor is None else _ratio(factor)
        places = (2 * steps + shift) * denominator // (2 * numerator)
        return [(ops.minimum(places, size - 1), ops.ones_like(steps))]
    steps, old = ops.cast(steps, dtype), ops.cast(size, dtype)
    if align_corners:
        source = steps * ((old - 1) / ops.maximum(ops.cast(new, dtype) - 1, 1))
    else:
        source = (steps + 0.5) * (old / ops.cast(new, dtype) if factor is None else 1 / factor)
        source = source - 0.5 if mode == "bicubic" else ops.maximum(source - 0.5, 0)
    base = ops.floor(source)
    offsets, weights = (_cubic if mode == "bicubic" else _linear)(source - base)
    places = (ops.clip(ops.cast(base, "int32") + offset, 0, size - 1) for offset in offsets)
    return zip(places, weights, strict=True)


def _linear(t):
    """Offsets and weights of the two places around t in [0, 1)."""
    return (0, 1), (1 - t, t)


def _cubic(t):
    """Offsets and weights of the four places around t in [0, 1), for a = -3/4."""

    def near(d):
        return (1.25 * d - 2.25) * d * d + 1

    def far(d):
        return ((-0.75 * d + 3.75) * d - 6) * d + 3

    return (-1, 0, 1, 2), (far(t + 1), near(t), near(1 - t), far(2 - t))


def affine_grid(theta, size: tuple[int, int], *, align_corners: bool = False):
    """The places (x, y) that affine maps sample: (N, 2, 3) -> (N, h, w, 2) for a size (h, w)."""
    dtype = result_type(theta.dtype, "float32")

    def places(size):
        steps = ops.cast(2 * ops.arange(size, dtype="int32") - (size - 1), dtype)
        return steps / ops.maximum(ops.cast(size - 1 if align_corners else size, dtype), 1)

    h, w = size
    columns, rows = ops.meshgrid(places(w), places(h))
    base = ops.reshape(ops.stack([columns, rows, ops.ones_like(rows)], -1), (-1, 3))
    grid = ops.matmul(base, ops.transpose(ops.cast(theta, dtype), (0, 2, 1)))
    return ops.reshape(grid, (-1, h, w, 2))


def grid_sample(
    x,
    grid,
    *,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
):
    """Samples images at places.

    Args:
        x: (N, H, W, C).
        grid: (N, h, w, 2): (x, y) each, with -1 and 1 at the image's ends.
        mode: bilinear, nearest or bicubic.
        padding_mode: what is outside: zeros, border or reflection.
        align_corners: whether -1 and 1 are the centres of the outermost places, or their edges.

    Returns:
        (N, h, w, C)
    """
    check_choice("grid_sample", "mode", mode, ("bilinear", "nearest", "bicubic"))
    check_choice("grid_sample", "padding_mode", padding_mode, ("zeros", "border", "reflection"))
    dtype = result_type(grid.dtype, "float32")
    n, height, width, c = ops.shape(x)

    def taps(coordinate, size):
        """Places and weights along an axis, (N, h, w) each."""
        last = ops.cast(size - 1, dtype)
        place = (coordinate + 1) / 2 * (last if align_corners else last + 1)
        place = place if align_corners else place - 0.5
        if padding_mode != "zeros" and mode != "bicubic":
            place = _confined(place, last, padding_mode, align_corners)
        if mode == "nearest":
            base = ops.round(place)
            offsets, weights = (0,), (ops.ones_like(place),)
        else:
            base = ops.floor(place)
            offsets, weights = (_cubic if mode == "bicubic" else _linear)(place - base)
        for offset, weight in zip(offsets, weights, strict=True):
            place = base + offset
            if padding_mode == "zeros":
                weight = ops.where((place >= 0) & (place <= last), weight, 0.0)
            elif mode == "bicubic":
                place = _confined(place, last, padding_mode, align_corners)
            yield ops.cast(ops.clip(place, 0, last), "int32"), weight

    grid = ops.cast(grid, dtype)
    columns, rows = list(taps(grid[..., 0], width)), list(taps(grid[..., 1], height))
    pixels = ops.reshape(x, (-1, c))
    first = ops.reshape(ops.arange(n, dtype="int32") * height * width, (-1, 1, 1))
    return sum(
        ops.take(pixels, first + row * width + column, 0)
        * ops.cast(ops.expand_dims(row_weight * column_weight, -1), x.dtype)
        for row, row_weight in rows
        for column, column_weight in columns
    )


def _confined(place, last, padding_mode: str, align_corners: bool):
    """Places along an axis, brought inside as the padding mode says."""
    if padding_mode == "reflection":
        low, span = (0.0, ops.maximum(last, 1)) if align_corners else (-0.5, last + 1)
        distance = ops.abs(place - low)
        flips = ops.floor(distance / span)
        rest = distance - flips * span
        place = ops.where(ops.mod(flips, 2) == 0, rest, span - rest) + low
    # Not by clip, whose slope at the ends differs between the backends.
    return ops.where(place <= 0, 0.0, ops.where(place >= last, last, place))
