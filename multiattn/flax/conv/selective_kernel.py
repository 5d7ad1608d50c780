from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class SelectiveKernelPath(nnx.Module):
    """Convolution that keeps the size, batch norm, ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd.
        stride: of the convolution.
        dilation: of the convolution.
        groups: of the convolution.

    Shape: (N, H, W, in_channels) -> (N, ceil(H / stride), ceil(W / stride), out_channels)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int,
        dilation: int,
        groups: int,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=groups,
            bias=False,
            **layer,
        )
        self.bn = nn.BatchNorm(out_channels, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.relu(self.bn(self.conv(x)))


class SelectiveKernelAttention(nnx.Module):
    """What each path counts for in each channel, from their pooled sum.

    Args:
        channels: channels of each path.
        num_paths: number of the paths.
        hidden_channels: channels of the bottleneck.

    Shape: (N, H, W, C) -> (N, num_paths, C), of sum one over the paths
    """

    def __init__(
        self,
        channels: int,
        num_paths: int,
        hidden_channels: int,
        *,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.num_paths = num_paths
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.fc_reduce = nn.Conv2d(channels, hidden_channels, 1, bias=False, **layer)
        self.bn = nn.BatchNorm(hidden_channels, **layer)
        self.fc_select = nn.Conv2d(hidden_channels, num_paths * channels, 1, bias=False, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        context = nn.relu(self.bn(self.fc_reduce(x.mean((1, 2), keepdims=True))))
        return nn.softmax(self.fc_select(context).reshape(len(x), self.num_paths, -1), 1)


class SelectiveKernel(nnx.Module):
    """Convolutions of several receptive fields, mixed channel by channel from their pooled sum.

    "Selective Kernel Networks", Li et al., CVPR 2019.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; None: in_channels.
        kernel_sizes: one path for each; odd, at least 3.
        stride: of the paths.
        dilation: of the paths.
        groups: of the paths, at most out_channels; 32 in the paper.
        reduction: the bottleneck has max(out_channels // reduction, min_channels) channels.
        min_channels: see reduction.
        reduced_channels: channels of the bottleneck, given outright.
        keep_3x3: larger kernels are 3x3 ones, dilated so as to reach as far.
        split_input: each path has a part of the input; their number divides in_channels (timm).

    Shape: (N, H, W, in_channels) -> (N, ceil(H / stride), ceil(W / stride), out_channels)
    """

    def __init__(
        self,
        in_channels: int,
        *,
        out_channels: int | None = None,
        kernel_sizes: Sequence[int] = (3, 5),
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        reduction: int = 16,
        min_channels: int = 32,
        reduced_channels: int | None = None,
        keep_3x3: bool = True,
        split_input: bool = False,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, in_channels=in_channels, reduction=reduction)
        checks.positive(self, stride=stride, dilation=dilation)
        checks.nonempty(self, kernel_sizes=kernel_sizes)
        for kernel_size in kernel_sizes:
            checks.odd(self, kernel_sizes=kernel_size)
            if kernel_size < 3:
                checks.fail(self, f"kernel_sizes ({kernel_size}) must be at least 3")
        num_paths = len(kernel_sizes)
        out_channels = out_channels or in_channels
        path_channels = in_channels
        if split_input:
            checks.divisible(self, by="paths", paths=num_paths, in_channels=in_channels)
            path_channels = in_channels // num_paths
        groups = min(groups, out_channels)
        widths = {"in_channels": path_channels, "out_channels": out_channels}
        checks.divisible(self, by="groups", groups=groups, **widths)
        hidden = reduced_channels or max(out_channels // reduction, min_channels)
        checks.positive(self, reduced_channels=hidden)
        self.split_input = split_input
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}

        def path(kernel_size: int) -> SelectiveKernelPath:
            reach = dilation * (kernel_size // 2) if keep_3x3 else dilation
            return SelectiveKernelPath(
                path_channels,
                out_channels,
                3 if keep_3x3 else kernel_size,
                stride=stride,
                dilation=reach,
                groups=groups,
                **layer,
            )

        self.paths = nn.ModuleList(map(path, kernel_sizes))
        self.attn = SelectiveKernelAttention(out_channels, num_paths, hidden, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        paths = len(self.paths)
        inputs = jnp.split(x, paths, -1) if self.split_input else [x] * paths
        features = jnp.stack([path(x) for path, x in zip(self.paths, inputs, strict=True)], 3)
        return (features * self.attn(features.sum(3))[:, None, None]).sum(3)
