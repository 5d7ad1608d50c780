import math

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class ECA(nnx.Module):
    """Efficient channel attention: gates each channel by a small convolution along the channels.

    "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks", Wang et al.,
    CVPR 2020.

    Args:
        channels: channels of the input, and of the output.
        kernel_size: odd; None: (log2(channels) + beta) / gamma, cut down, then up to an odd one.
        gamma: see kernel_size.
        beta: see kernel_size.
        shared: one kernel for all channels; False gives each channel its own.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int | None = None,
        gamma: float = 2,
        beta: float = 1,
        shared: bool = True,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, channels=channels, gamma=gamma)
        if kernel_size is None:
            kernel_size = int(abs((math.log2(channels) + beta) / gamma)) | 1
        checks.odd(self, kernel_size=kernel_size)
        kernels = 1 if shared else channels
        self.kernel_size = kernel_size
        self.shared = shared
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.conv = nn.Conv1d(kernels, kernels, kernel_size, groups=kernels, bias=False, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        padding = self.kernel_size // 2
        context = jnp.pad(x.mean((1, 2)), ((0, 0), (padding, padding)))
        if self.shared:
            context = self.conv(context[:, :, None])[:, :, 0]
        else:
            windows = [context[:, k : k + x.shape[-1]] for k in range(self.kernel_size)]
            context = self.conv(jnp.stack(windows, 1))[:, 0]
        return x * nn.sigmoid(context)[:, None, None, :]
