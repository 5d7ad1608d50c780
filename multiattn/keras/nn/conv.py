"""Layers with a kernel: convolutions, transposed convolutions, Linear, Embedding."""

import math
from collections.abc import Sequence

import keras
from keras import ops
from keras.backend import standardize_dtype

from multiattn import checks

from .common import PerAxis, pad_all, spread, to_tuple
from .initializers import Initializer, kaiming_uniform, normal, uniform
from .module import Module, SelfDescribing
from .resample import PAD_MODES, pad


class _Kernel(SelfDescribing):
    """Over a stock layer with kernel and bias: PyTorch's initial distributions."""

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("kernel_initializer", kaiming_uniform(math.sqrt(5)))
        kwargs.setdefault("bias_initializer", None)
        super().__init__(*args, **kwargs)

    def build(self, shape):
        if isinstance(self.kernel_initializer, Initializer):
            config = {**self.kernel_initializer.get_config(), "channels_last": True}
            self.kernel_initializer = Initializer.from_config(config)
        if self.bias_initializer is None:
            channels = shape[-1] // getattr(self, "groups", 1)
            fan_in = channels * math.prod(getattr(self, "kernel_size", ()))
            self.bias_initializer = uniform(1 / math.sqrt(fan_in))
        super().build(shape)


class Linear(_Kernel, keras.layers.Dense):
    """Matrix product over the last axis.

    Args:
        out_features: width of the output.
        bias: whether to add a learned bias.
        **kwargs: those of `keras.layers.Dense`.
    """

    def __init__(self, out_features: int, *, bias: bool = True, **kwargs):
        super().__init__(out_features, use_bias=bias, **kwargs)


class Embedding(SelfDescribing, keras.layers.Embedding):
    """A learned vector for each of num_embeddings indices: (...) -> (..., embedding_dim)."""

    def __init__(self, num_embeddings: int, embedding_dim: int, **kwargs):
        kwargs.setdefault("embeddings_initializer", normal())
        super().__init__(num_embeddings, embedding_dim, **kwargs)


class _Conv(_Kernel):
    """Convolution over (N, ..., C), with PyTorch's padding, and stride together with dilation.

    Args:
        out_channels: channels of the output.
        kernel_size: size of the kernel, once or per axis, as stride, padding and dilation.
        stride: step of the kernel.
        padding: what is added at both ends, or (before, after) for each axis.
        dilation: distance between a kernel's places.
        groups: groups of channels that are convolved apart.
        bias: whether to add a learned bias.
        padding_mode: zeros, reflect, replicate or circular.
        **kwargs: those of Keras's own layer.
    """

    rank: int

    def __init__(
        self,
        out_channels: int,
        kernel_size: PerAxis,
        *,
        stride: PerAxis = 1,
        padding: PerAxis = 0,
        dilation: PerAxis = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        **kwargs,
    ):
        checks.divisible(self, by="groups", out_channels=out_channels, groups=groups)
        checks.choice(self, PAD_MODES, padding_mode=padding_mode)
        kernel, stride, padding, dilation = (
            to_tuple(value, self.rank) for value in (kernel_size, stride, padding, dilation)
        )
        super().__init__(
            out_channels,
            kernel,
            strides=1 if max(dilation) > 1 else stride,  # Keras refuses both
            data_format="channels_last",
            dilation_rate=dilation,
            groups=groups,
            use_bias=bias,
            **kwargs,
        )
        self.stride = stride
        self.margins = [to_tuple(amount, 2) for amount in padding]
        self.padding_mode = padding_mode

    def build(self, shape):
        checks.divisible(self, by="groups", in_channels=shape[-1], groups=self.groups)
        super().build(shape)

    def convolution_op(self, inputs, kernel):
        places = (self.stride, self.margins, self.dilation_rate)
        return _convolve(inputs, kernel, *places, self.groups, self.padding_mode)

    def compute_output_shape(self, shape):
        options = zip(self.margins, self.kernel_size, self.dilation_rate, self.stride, strict=True)
        sizes = [
            None if size is None else (size + sum(margin) - d * (k - 1) - 1) // s + 1
            for size, (margin, k, d, s) in zip(shape[1:-1], options, strict=True)
        ]
        return (shape[0], *sizes, self.filters)


class Conv1d(_Conv, keras.layers.Conv1D):
    __doc__ = _Conv.__doc__
    rank = 1

    def call(self, inputs):
        # that of all ranks: Conv1D's own does without convolution_op
        return super(keras.layers.Conv1D, self).call(inputs)


class Conv2d(_Conv, keras.layers.Conv2D):
    __doc__ = _Conv.__doc__
    rank = 2


class Conv3d(_Conv, keras.layers.Conv3D):
    __doc__ = _Conv.__doc__
    rank = 3


def _convolve(x, kernel, stride, margins, dilation, groups: int, padding_mode: str = "zeros"):
    """Convolution of (N, ..., C) with a kernel (..., in / groups, out)."""
    *size, inner, filters = kernel.shape
    rank = len(size)
    half = [d * (k - 1) / 2 for d, k in zip(dilation, size, strict=True)]
    same = padding_mode == "zeros" and max(stride) == 1 and margins == [(n, n) for n in half]
    if not same:
        x = pad(x, margins, mode=padding_mode)
    if filters == 1 and standardize_dtype(x.dtype) == "float64":
        # torch's backward wants this kernel contiguous in torch's layout
        axes = range(rank)
        flat = ops.reshape(ops.transpose(kernel, (rank + 1, rank, *axes)), -1)
        kernel = ops.reshape(flat, (1, inner, *size))
        kernel = ops.transpose(kernel, (*(axis + 2 for axis in axes), 1, 0))
    strides = (1,) * rank if max(dilation) > 1 else stride  # TensorFlow refuses both
    # TensorFlow has a kernel for it, but compiles other grouped convolutions at each call
    depthwise = groups == x.shape[-1] > 1 and rank < 3 and len(set(strides)) == 1
    x = (ops.depthwise_conv if depthwise else ops.conv)(
        x,
        ops.reshape(kernel, (*size, groups, -1)) if depthwise else kernel,
        strides,
        padding="same" if same else "valid",
        data_format="channels_last",
        dilation_rate=dilation,
    )
    if strides != stride:
        x = x[(slice(None), *(slice(None, None, step) for step in stride))]
    return x


def _convolve_with(x, weight, bias, stride, padding, dilation, groups: int):
    """Convolution of (N, ..., C) with a weight in PyTorch's layout."""
    rank = len(x.shape) - 2
    margins = [to_tuple(amount, 2) for amount in to_tuple(padding, rank)]
    kernel = ops.transpose(weight, (*range(2, rank + 2), 1, 0))
    x = _convolve(x, kernel, to_tuple(stride, rank), margins, to_tuple(dilation, rank), groups)
    return x if bias is None else x + bias


def conv1d(
    x,
    weight,
    bias=None,
    *,
    stride: PerAxis = 1,
    padding: PerAxis | Sequence[tuple[int, int]] = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
):
    """Convolution of (N, L, C) with a weight (out, in / groups, k); see conv2d."""
    return _convolve_with(x, weight, bias, stride, padding, dilation, groups)


def conv2d(
    x,
    weight,
    bias=None,
    *,
    stride: PerAxis = 1,
    padding: PerAxis | Sequence[tuple[int, int]] = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
):
    """Convolution with a weight that is computed.

    Args:
        x: (N, H, W, C).
        weight: (out, in / groups, kh, kw).
        bias: (out,).
        stride: step of the kernel, once or per axis, as all but groups.
        padding: zeros at both ends; for an axis it may be a pair (before, after).
        dilation: distance between a kernel's places.
        groups: groups of channels that are convolved apart.
    """
    return _convolve_with(x, weight, bias, stride, padding, dilation, groups)


def batch_conv2d(
    x,
    weight,
    bias=None,
    *,
    stride: PerAxis = 1,
    padding: PerAxis | Sequence[tuple[int, int]] = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
):
    """Convolution of each image with a kernel of its own: a sum over the kernel's places.

    Args:
        x: (N, H, W, C).
        weight: (N, out, in / groups, kh, kw).
        bias: (N, out).
        stride: as for conv2d, like all that follows.
        padding: as for conv2d.
        dilation: as for conv2d.
        groups: as for conv2d.
    """
    stride, dilation = to_tuple(stride, 2), to_tuple(dilation, 2)
    x = pad(x, [to_tuple(amount, 2) for amount in to_tuple(padding, 2)])
    n = ops.shape(x)[0]
    _, filters, inner, *size = weight.shape
    axes = list(zip(ops.shape(x)[1:3], size, stride, dilation, strict=True))
    height, width = ((whole - d * (k - 1) - 1) // s + 1 for whole, k, s, d in axes)

    def seen(row: int, column: int) -> tuple[slice, ...]:
        """What one place of the kernel sees."""
        starts = (row * dilation[0], column * dilation[1])
        counts = zip(starts, (height, width), stride, strict=True)
        return tuple(slice(start, start + (count - 1) * s + 1, s) for start, count, s in counts)

    places = [(row, column) for row in range(size[0]) for column in range(size[1])]
    weight = ops.reshape(weight, (-1, groups, filters // groups, inner, *size))
    weight = ops.transpose(weight, (4, 5, 0, 1, 3, 2))
    if inner == 1 and filters == groups:
        weight = ops.reshape(weight, (*size, -1, 1, 1, filters))
        x = sum(x[(slice(None), *seen(*place))] * weight[place] for place in places)
    else:
        x = ops.reshape(x, (*ops.shape(x)[:3], groups, inner))
        x = ops.transpose(x, (0, 3, 1, 2, 4))
        flat = (n, groups, height * width, inner)
        x = sum(
            ops.matmul(ops.reshape(x[(slice(None),) * 2 + seen(*place)], flat), weight[place])
            for place in places
        )
        x = ops.reshape(x, (n, groups, height, width, filters // groups))
        x = ops.reshape(ops.transpose(x, (0, 2, 3, 1, 4)), (n, height, width, filters))
    return x if bias is None else x + bias[:, None, None]


def pad_same(x, kernel_size: PerAxis, *, stride: PerAxis = 1, dilation: PerAxis = 1):
    """Pads (N, ..., C) as TensorFlow does: ceil(size / stride) windows fit, the odd zero behind."""
    sizes = ops.shape(x)[1:-1]
    options = (to_tuple(value, len(sizes)) for value in (kernel_size, stride, dilation))
    margins = []
    for size, kernel, step, apart in zip(sizes, *options, strict=True):
        total = (kernel - 1) * apart - (size - 1) % step
        total = max(total, 0) if isinstance(size, int) else ops.maximum(total, 0)
        margins.append((total // 2, total - total // 2))
    return pad_all(x, [(0, 0), *margins, (0, 0)])


class _ConvTranspose(Module):
    """Transposed convolution over (N, ..., C).

    Args:
        out_channels: channels of the output.
        kernel_size: size of the kernel, once or per axis, as stride to output_padding and dilation.
        stride: distance of the input's places in the output.
        padding: what is taken away at both ends.
        output_padding: what is added at the end.
        groups: groups of channels that are convolved apart.
        bias: whether to add a learned bias.
        dilation: distance between a kernel's places.
    """

    rank: int

    def __init__(
        self,
        out_channels: int,
        kernel_size: PerAxis,
        *,
        stride: PerAxis = 1,
        padding: PerAxis = 0,
        output_padding: PerAxis = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: PerAxis = 1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.out_channels = out_channels
        self.kernel_size = to_tuple(kernel_size, self.rank)
        self.stride = to_tuple(stride, self.rank)
        self.padding = to_tuple(padding, self.rank)
        self.output_padding = to_tuple(output_padding, self.rank)
        self.groups = groups
        self.use_bias = bias
        self.dilation = to_tuple(dilation, self.rank)

    def setup(self, shape):
        widths = {"in_channels": shape[-1], "out_channels": self.out_channels}
        checks.divisible(self, by="groups", **widths, groups=self.groups)
        shape = (shape[-1], self.out_channels // self.groups, *self.kernel_size)
        initializer = uniform(1 / math.sqrt(math.prod(shape[1:])))
        self.weight = self.add_weight(name="weight", shape=shape, initializer=initializer)
        if self.use_bias:
            shape = (self.out_channels,)
            self.bias = self.add_weight(name="bias", shape=shape, initializer=initializer)

    def call(self, x):
        rank = self.rank
        axes = (self.kernel_size, self.stride, self.padding, self.output_padding, self.dilation)
        axes = list(zip(*axes, strict=True))
        if self.groups == 1 and max(self.dilation) == 1:
            kernel = ops.transpose(self.weight, (*range(2, rank + 2), 1, 0))
            x = ops.conv_transpose(
                x, kernel, self.stride, padding="valid", data_format="channels_last"
            )
            # behind the last place Keras's goes on for a whole step
            x = pad(x, [(-p, extra - p - max(s - k, 0)) for k, s, p, extra, _ in axes])
        else:
            # the kernel backwards over the input spread out
            channels, out, *_ = self.weight.shape
            kernel = ops.reshape(self.weight, (self.groups, -1, out, *self.kernel_size))
            kernel = ops.flip(kernel, tuple(range(3, rank + 3)))
            kernel = ops.transpose(kernel, (*range(3, rank + 3), 1, 0, 2))
            kernel = ops.reshape(
                kernel, (*self.kernel_size, channels // self.groups, self.out_channels)
            )
            for axis, step in enumerate(self.stride, 1):
                x = spread(x, axis, step)
            ends = [(d * (k - 1) - p, extra - (s - 1)) for k, s, p, extra, d in axes]
            x = pad(x, [(before, before + more) for before, more in ends])
            x = ops.conv(
                x,
                kernel,
                padding="valid",
                data_format="channels_last",
                dilation_rate=self.dilation,
            )
        return x + self.bias if self.use_bias else x


class ConvTranspose1d(_ConvTranspose):
    __doc__ = _ConvTranspose.__doc__
    rank = 1


class ConvTranspose2d(_ConvTranspose):
    __doc__ = _ConvTranspose.__doc__
    rank = 2


class ConvTranspose3d(_ConvTranspose):
    __doc__ = _ConvTranspose.__doc__
    rank = 3
