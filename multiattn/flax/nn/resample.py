"""Padding, patches, interpolation and sampling of channels-last arrays."""

import math
from collections.abc import Sequence
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .common import PerAxis, check_choice, to_tuple
from .pool import adaptive_avg_pool, slide

PAD_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
_INTERPOLATIONS = ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area")


def pad(
    x: jax.Array, padding: Sequence[tuple[int, int]], *, mode: str = "zeros", value: float = 0.0
) -> jax.Array:
    """Adds (before, after) to each spatial axis, or cuts, by negative amounts, in mode zeros.

    Args:
        mode: zeros (which means `value`), reflect, replicate or circular.
    """
    check_choice("pad", "mode", mode, PAD_MODES)
    ends = ((0, 0), *padding, (0, 0))
    if mode == "zeros":
        return lax.pad(x, jnp.asarray(value, x.dtype), [(*pair, 0) for pair in ends])
    return jnp.pad(x, ends, PAD_MODES[mode])


def neighbourhoods(
    x: jax.Array,
    kernel_size: PerAxis,
    *,
    dilation: PerAxis = 1,
    padding: PerAxis = 0,
    stride: PerAxis = 1,
    padding_mode: str = "zeros",
) -> jax.Array:
    """The windows of images, (N, H, W, C) -> (N, H', W', kh · kw, C).

    Args:
        padding_mode: zeros, reflect, replicate or circular.
    """
    kernel, dilation, padding, stride = (
        to_tuple(option, 2) for option in (kernel_size, dilation, padding, stride)
    )
    x = pad(x, [(amount, amount) for amount in padding], mode=padding_mode)
    x = slide(x, 2, kernel[1], stride[1], dilation[1])
    x = slide(x, 1, kernel[0], stride[0], dilation[0], to=3)
    return x.reshape(*x.shape[:3], math.prod(kernel), x.shape[-1])


def unfold(
    x: jax.Array,
    kernel_size: PerAxis,
    *,
    dilation: PerAxis = 1,
    padding: PerAxis = 0,
    stride: PerAxis = 1,
) -> jax.Array:
    """The patches of images, (N, H, W, C) -> (N, places, C · kh · kw), channels slowest."""
    x = neighbourhoods(x, kernel_size, dilation=dilation, padding=padding, stride=stride)
    n, rows, columns, places, c = x.shape
    return x.swapaxes(3, 4).reshape(n, rows * columns, c * places)


def fold(
    x: jax.Array,
    output_size: Sequence[int],
    kernel_size: PerAxis,
    *,
    dilation: PerAxis = 1,
    padding: PerAxis = 0,
    stride: PerAxis = 1,
) -> jax.Array:
    """Sums overlapping patches, (N, places, C · kh · kw) -> (N, H, W, C): unfold's adjoint."""
    channels = x.shape[-1] // math.prod(to_tuple(kernel_size, 2))
    options = {"dilation": dilation, "padding": padding, "stride": stride}
    image = jax.ShapeDtypeStruct((len(x), *output_size, channels), x.dtype)
    (image,) = jax.linear_transpose(lambda image: unfold(image, kernel_size, **options), image)(x)
    return image


def pixel_shuffle(x: jax.Array, factor: int) -> jax.Array:
    """(N, H, W, C · factor²) -> (N, H · factor, W · factor, C)."""
    n, h, w, _ = x.shape
    x = x.reshape(n, h, w, -1, factor, factor).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(n, h * factor, w * factor, -1)


def pixel_unshuffle(x: jax.Array, factor: int) -> jax.Array:
    """(N, H · factor, W · factor, C) -> (N, H, W, C · factor²)."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // factor, factor, w // factor, factor, c).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(n, h // factor, w // factor, c * factor**2)


def channel_shuffle(x: jax.Array, groups: int) -> jax.Array:
    """Takes the channels of (N, ..., groups · C) from the groups in turn."""
    return x.reshape(*x.shape[:-1], groups, -1).swapaxes(-1, -2).reshape(x.shape)


def flatten(x: jax.Array) -> jax.Array:
    """(N, ..., C) -> (N, C · ...), the channel slowest, as PyTorch flattens its images."""
    return jnp.moveaxis(x, -1, 1).reshape(len(x), -1)


def _taps(place, cubic: bool):
    """The places around `place` that interpolation looks at, and their weights."""
    xp = jnp if isinstance(place, jax.Array) else np
    base = xp.floor(place)
    t = place - base
    if not cubic:
        return xp.stack([base, base + 1]), xp.stack([1 - t, t])

    def near(d):
        return (1.25 * d - 2.25) * d * d + 1

    def far(d):
        return ((-0.75 * d + 3.75) * d - 6) * d + 3

    places = xp.stack([base - 1, base, base + 1, base + 2])
    return places, xp.stack([far(1 + t), near(t), near(1 - t), far(2 - t)])


@lru_cache
def _resize_taps(size: int, new: int, scale: float | None, mode: str, align_corners: bool):
    """Places and weights, (taps, new) each, whose sum resizes an axis."""
    steps = np.arange(new)
    if mode.startswith("nearest"):
        shift = 1 if mode == "nearest-exact" else 0
        exact = (2 * steps + shift) * size // (2 * new)
        place = exact if scale is None else ((steps + shift / 2) / scale).astype(int)
        return np.minimum(place, size - 1)[None], np.ones((1, new))
    if align_corners:
        place = steps * (size - 1) / max(new - 1, 1)
    else:
        place = (steps + 0.5) * (size / new if scale is None else 1 / scale) - 0.5
        place = place if mode == "bicubic" else np.maximum(place, 0)
    places, weights = _taps(place, mode == "bicubic")
    return places.clip(0, size - 1).astype(int), weights


def interpolate(
    x: jax.Array,
    size: int | Sequence[int] | None = None,
    *,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
) -> jax.Array:
    """Resizes the spatial axes, without antialiasing.

    Args:
        scale_factor: given instead of `size`, it maps the coordinates, and sizes are rounded down.
        mode: nearest, nearest-exact, linear (or bilinear, trilinear), bicubic or area.
        align_corners: whether the outermost places stay where they are (linear and bicubic).
    """
    check_choice("interpolate", "mode", mode, _INTERPOLATIONS)
    if (size is None) == (scale_factor is None):
        raise ValueError(f"interpolate: give size ({size}) or scale_factor ({scale_factor})")
    sizes, scales = to_tuple(size, x.ndim - 2), to_tuple(scale_factor, x.ndim - 2)
    if size is None:
        sizes = tuple(int(old * scale) for old, scale in zip(x.shape[1:-1], scales, strict=True))
    if mode == "area":
        return adaptive_avg_pool(x, sizes)
    for axis, (new, scale) in enumerate(zip(sizes, scales, strict=True), 1):
        places, weights = _resize_taps(x.shape[axis], new, scale, mode, align_corners)
        weights = jnp.asarray(weights.reshape(-1, new, *[1] * (x.ndim - 1 - axis)), x.dtype)
        taps = zip(places, weights, strict=True)
        x = sum(jnp.take(x, place, axis) * weight for place, weight in taps)
    return x


@lru_cache
def _base_grid(h: int, w: int, align_corners: bool) -> np.ndarray:
    """(x, y, 1) of an image's places, (h, w, 3), with -1 and 1 at its ends."""

    def places(size: int) -> np.ndarray:
        steps = 2 * np.arange(size) - (size - 1)
        return steps / max(size - 1 if align_corners else size, 1)

    return np.stack(np.broadcast_arrays(places(w), places(h)[:, None], 1.0), -1)


def affine_grid(theta: jax.Array, size: Sequence[int], *, align_corners: bool = False) -> jax.Array:
    """Where affine maps (N, 2, 3) put the places of an image of `size`: (N, h, w, 2), as (x, y)."""
    base = jnp.asarray(_base_grid(*size, align_corners), theta.dtype)
    return jnp.einsum("hwk,nck->nhwc", base, theta, precision="highest")


def _confine(place: jax.Array, size: int, padding_mode: str, align_corners: bool) -> jax.Array:
    """Places along an axis, brought inside; those on the border have no gradient."""
    if padding_mode == "reflection":
        low, span = (0, max(size - 1, 1)) if align_corners else (-0.5, size)
        distance = jnp.abs(place - low) % (2 * span)
        place = jnp.minimum(distance, 2 * span - distance) + low
    inside = (place > 0) & (place < size - 1)
    return jnp.where(inside, place, lax.stop_gradient(place.clip(0, size - 1)))


def grid_sample(
    x: jax.Array,
    grid: jax.Array,
    *,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
) -> jax.Array:
    """Samples images (N, H, W, C) at places (N, h, w, 2), given as (x, y): (N, h, w, C).

    Args:
        mode: bilinear, nearest or bicubic.
        padding_mode: what is outside: zeros, border or reflection.
        align_corners: whether -1 and 1 are the centres of the outermost places, or their far edges.
    """
    check_choice("grid_sample", "mode", mode, ("bilinear", "nearest", "bicubic"))
    check_choice("grid_sample", "padding_mode", padding_mode, ("zeros", "border", "reflection"))
    n, height, width, c = x.shape

    def taps(place: jax.Array, size: int) -> list[tuple[jax.Array, jax.Array]]:
        """Pairs of places and weights along an axis, (N, h, w) each."""
        ends = size - 1 if align_corners else size
        place = (place + 1) / 2 * ends + (size - 1 - ends) / 2
        if padding_mode != "zeros" and mode != "bicubic":
            place = _confine(place, size, padding_mode, align_corners)
        if mode == "nearest":
            places = jnp.round(place)[None]
            weights = jnp.ones_like(places)
        else:
            places, weights = _taps(place, mode == "bicubic")
        if padding_mode == "zeros":
            weights = jnp.where((places >= 0) & (places < size), weights, 0)
        elif mode == "bicubic":
            places = _confine(places, size, padding_mode, align_corners)
        return list(zip(places.clip(0, size - 1).astype(int), weights, strict=True))

    first = jnp.arange(n)[:, None, None] * (height * width)
    flat = x.reshape(-1, c)
    return sum(
        jnp.take(flat, first + row * width + column, 0) * (row_weight * column_weight)[..., None]
        for row, row_weight in taps(grid[..., 1], height)
        for column, column_weight in taps(grid[..., 0], width)
    )
