"""Convolutions, Linear and Embedding, with PyTorch's padding and initial values.

`options` are those of every layer here: dtype, param_dtype, rngs. `weight_init` and `bias_init`
are initializers; that of a weight is given its shape in PyTorch's layout.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from multiattn import checks

from .common import PerAxis, promote, to_tuple
from .initializers import Initializer, kaiming_uniform, normal, on_host, uniform
from .resample import PAD_MODES, pad

_weight_init = kaiming_uniform(math.sqrt(5))


def _bias_init(fan_in: int) -> Initializer:
    return uniform(1 / math.sqrt(fan_in))


def _kernel_init(weight_init: Initializer) -> Initializer:
    """Initializes a kernel (*size, in, out) as a weight (out, in, *size)."""

    def initialize(key: jax.Array, shape: tuple[int, ...], dtype) -> jax.Array:
        *size, inner, outer = shape
        weight = on_host(weight_init(key, (outer, inner, *size), dtype))
        return jnp.asarray(weight.transpose(*range(2, weight.ndim), 1, 0), dtype)

    return initialize


class _Conv(nnx.Conv):
    """Convolution over (N, ..., C).

    Args:
        padding: added at both ends; for an axis it may be a pair (before, after).
        padding_mode: zeros, reflect, replicate or circular.
    """

    rank: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: PerAxis,
        *,
        stride: PerAxis = 1,
        padding: PerAxis | Sequence[tuple[int, int]] = 0,
        dilation: PerAxis = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        weight_init: Initializer = _weight_init,
        bias_init: Initializer | None = None,
        **options,
    ):
        checks.divisible(
            self, by="groups", in_channels=in_channels, out_channels=out_channels, groups=groups
        )
        checks.choice(self, tuple(PAD_MODES), padding_mode=padding_mode)
        size, stride, padding, dilation = (
            to_tuple(option, self.rank) for option in (kernel_size, stride, padding, dilation)
        )
        self.padding_mode = padding_mode
        self.edges = tuple(to_tuple(amount, 2) for amount in padding)
        super().__init__(
            in_channels,
            out_channels,
            size,
            stride,
            padding=self.edges if padding_mode == "zeros" else 0,
            kernel_dilation=dilation,
            feature_group_count=groups,
            use_bias=bias,
            kernel_init=_kernel_init(weight_init),
            bias_init=bias_init or _bias_init(in_channels // groups * math.prod(size)),
            **options,
        )

    def __call__(self, inputs: jax.Array, out_sharding=None) -> jax.Array:
        if self.padding_mode != "zeros":
            inputs = pad(inputs, self.edges, mode=self.padding_mode)
        return super().__call__(inputs, out_sharding)


class Conv1d(_Conv):
    rank = 1


class Conv2d(_Conv):
    rank = 2


class Conv3d(_Conv):
    rank = 3


def _convolve(x: jax.Array, weight: jax.Array, bias, stride, padding, dilation, groups: int):
    """Convolution of (N, ..., C) with a weight in PyTorch's layout."""
    rank = x.ndim - 2
    axes = "DHW"[-rank:]
    x = lax.conv_general_dilated(
        x,
        weight,
        to_tuple(stride, rank),
        [to_tuple(amount, 2) for amount in to_tuple(padding, rank)],
        rhs_dilation=to_tuple(dilation, rank),
        dimension_numbers=(f"N{axes}C", f"OI{axes}", f"N{axes}C"),
        feature_group_count=groups,
    )
    return x if bias is None else x + bias


def conv1d(
    x: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: PerAxis = 1,
    padding: PerAxis | Sequence[tuple[int, int]] = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
) -> jax.Array:
    """Convolution of (N, L, C) with a weight (out, in / groups, k); see conv2d."""
    return _convolve(x, weight, bias, stride, padding, dilation, groups)


def conv2d(
    x: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: PerAxis = 1,
    padding: PerAxis | Sequence[tuple[int, int]] = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
) -> jax.Array:
    """Convolution with a weight that is computed.

    Args:
        x: (N, H, W, C).
        weight: (out, in / groups, kh, kw).
        bias: (out,).
        padding: zeros at both ends; for an axis it may be a pair (before, after).
    """
    return _convolve(x, weight, bias, stride, padding, dilation, groups)


def batch_conv2d(
    x: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: PerAxis = 1,
    padding: PerAxis | Sequence[tuple[int, int]] = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
) -> jax.Array:
    """Convolution of each image with a kernel of its own.

    Args:
        x: (N, H, W, C).
        weight: (N, out, in / groups, kh, kw).
        bias: (N, out).
        padding: as for conv2d.
    """

    def convolve(image: jax.Array, weight: jax.Array) -> jax.Array:
        return _convolve(image[None], weight, None, stride, padding, dilation, groups)[0]

    x = jax.vmap(convolve)(x, weight)
    return x if bias is None else x + bias[:, None, None]


def pad_same(
    x: jax.Array, kernel_size: PerAxis, *, stride: PerAxis = 1, dilation: PerAxis = 1
) -> jax.Array:
    """Pads (N, ..., C) as TensorFlow does: ceil(size / stride) windows fit, the odd zero behind."""
    sizes = x.shape[1:-1]
    options = (to_tuple(value, len(sizes)) for value in (kernel_size, stride, dilation))
    margins = []
    for size, kernel, step, apart in zip(sizes, *options, strict=True):
        total = max((kernel - 1) * apart - (size - 1) % step, 0)
        margins.append((total // 2, total - total // 2))
    return pad(x, margins)


class _ConvTranspose(nnx.Module):
    """Transposed convolution over (N, ..., C): the adjoint of a convolution.

    Args:
        padding: cut from both ends of the output.
        output_padding: added at the end of the output.
    """

    rank: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: PerAxis,
        *,
        stride: PerAxis = 1,
        padding: PerAxis = 0,
        output_padding: PerAxis = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: PerAxis = 1,
        weight_init: Initializer = _weight_init,
        bias_init: Initializer | None = None,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.divisible(
            self, by="groups", in_channels=in_channels, out_channels=out_channels, groups=groups
        )
        shape = (in_channels, out_channels // groups, *to_tuple(kernel_size, self.rank))
        bias_init = bias_init or _bias_init(math.prod(shape[1:]))
        self.weight = nnx.Param(weight_init(rngs.params(), shape, param_dtype))
        self.bias = (
            nnx.Param(bias_init(rngs.params(), (out_channels,), param_dtype)) if bias else None
        )
        self.stride = to_tuple(stride, self.rank)
        self.padding = to_tuple(padding, self.rank)
        self.output_padding = to_tuple(output_padding, self.rank)
        self.dilation = to_tuple(dilation, self.rank)
        self.groups = groups
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        x, weight, bias = promote(self.dtype, x, self.weight, self.bias)
        inner, outer, *size = weight.shape
        kernel = jnp.flip(weight, range(2, weight.ndim))
        kernel = kernel.reshape(self.groups, inner // self.groups, outer, *size).swapaxes(1, 2)
        reach = [d * (k - 1) - p for k, d, p in zip(size, self.dilation, self.padding, strict=True)]
        axes = "DHW"[-self.rank :]
        x = lax.conv_general_dilated(
            x,
            kernel.reshape(self.groups * outer, inner // self.groups, *size),
            window_strides=(1,) * self.rank,
            padding=[(r, r + extra) for r, extra in zip(reach, self.output_padding, strict=True)],
            lhs_dilation=self.stride,
            rhs_dilation=self.dilation,
            dimension_numbers=(f"N{axes}C", f"OI{axes}", f"N{axes}C"),
            feature_group_count=self.groups,
        )
        return x if bias is None else x + bias


class ConvTranspose1d(_ConvTranspose):
    rank = 1


class ConvTranspose2d(_ConvTranspose):
    rank = 2


class ConvTranspose3d(_ConvTranspose):
    rank = 3


class Linear(nnx.Linear):
    """Linear map of the last axis."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        weight_init: Initializer = _weight_init,
        bias_init: Initializer | None = None,
        **options,
    ):
        super().__init__(
            in_features,
            out_features,
            use_bias=bias,
            kernel_init=_kernel_init(weight_init),
            bias_init=bias_init or _bias_init(in_features),
            **options,
        )


class Embedding(nnx.Embed):
    """Learned vectors for integers."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        weight_init: Initializer | None = None,
        **options,
    ):
        super().__init__(
            num_embeddings, embedding_dim, embedding_init=weight_init or normal(), **options
        )
