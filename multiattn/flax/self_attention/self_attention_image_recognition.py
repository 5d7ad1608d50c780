from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class SelfAttentionImageRecognition(nnx.Module):
    """Local vector attention of SAN: a small network weighs each window's places and channels.

    "Exploring Self-attention for Image Recognition", Zhao et al., CVPR 2020.

    Args:
        channels: channels of the input.
        mode: "pairwise" (weights from the centre's difference to each neighbour and their relative
            position, by a softmax) or "patchwise" (from the whole window at once, no softmax).
        rel_channels: of the features that the weights come from; None: channels // 16.
        out_channels: channels of the output, divisible by share; None: channels // 4.
        share: how many channels share a weight.
        kernel_size: of the windows; odd.
        stride: of the windows; 1 if patchwise.
        dilation: of the windows; 1 if patchwise.

    Shape: (N, H, W, C) -> (N, ceil(H / stride), ceil(W / stride), out_channels), H and W greater
        than dilation * (kernel_size // 2)

    Raises:
        ValueError: H or W is not greater than dilation * (kernel_size // 2).
    """

    def __init__(
        self,
        channels: int,
        *,
        mode: str = "pairwise",
        rel_channels: int | None = None,
        out_channels: int | None = None,
        share: int = 8,
        kernel_size: int = 7,
        stride: int = 1,
        dilation: int = 1,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.choice(self, ("pairwise", "patchwise"), mode=mode)
        checks.odd(self, kernel_size=kernel_size)
        checks.positive(self, stride=stride, dilation=dilation)
        if mode == "patchwise":
            checks.choice(self, (1,), stride=stride, dilation=dilation)
        rel_channels = channels // 16 if rel_channels is None else rel_channels
        out_channels = channels // 4 if out_channels is None else out_channels
        checks.positive(self, rel_channels=rel_channels, out_channels=out_channels)
        checks.divisible(self, by="share", share=share, out_channels=out_channels)
        places, weights = kernel_size**2, out_channels // share
        self.mode = mode
        self.share = share
        self.stride = stride
        self.windows: dict[str, Any] = {
            "kernel_size": kernel_size,
            "stride": stride,
            "dilation": dilation,
            "padding": dilation * (kernel_size // 2),
            "padding_mode": "reflect",
        }
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.conv1 = nn.Conv2d(channels, rel_channels, 1, **layer)
        self.conv2 = nn.Conv2d(channels, rel_channels, 1, **layer)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, **layer)
        if mode == "pairwise":
            inputs, hidden, outputs = rel_channels + 2, rel_channels, weights
            self.conv_p = nn.Conv2d(2, 2, 1, **layer)
        else:
            inputs, hidden, outputs = rel_channels * (places + 1), weights, places * weights
        self.conv_w = nn.Sequential(
            nn.BatchNorm(inputs, **layer),
            nn.relu,
            nn.Conv2d(inputs, hidden, 1, bias=False, **layer),
            nn.BatchNorm(hidden, **layer),
            nn.relu,
            nn.Conv2d(hidden, outputs, 1, **layer),
        )

    def differences(self, centres: jax.Array, neighbours: jax.Array) -> jax.Array:
        """Each centre minus the neighbours in its window, (N, H', W', k * k, C)."""
        centres = centres[:, :: self.stride, :: self.stride, None]
        return centres - nn.neighbourhoods(neighbours, **self.windows)

    def pairwise(self, x: jax.Array) -> jax.Array:
        """The weights of each window, (N, H', W', k * k, out_channels // share)."""
        identity = jnp.eye(2, 3, dtype=x.dtype)[None]
        positions = self.conv_p(nn.affine_grid(identity, x.shape[1:3], align_corners=True))
        relations = self.differences(self.conv1(x), self.conv2(x))
        positions = self.differences(positions, positions)
        positions = jnp.broadcast_to(positions, (len(x), *positions.shape[1:]))
        relations = jnp.concatenate([relations, positions], -1)
        n, height, width, _, channels = relations.shape
        weights = self.conv_w(relations.reshape(n, height, -1, channels))
        return nn.softmax(weights.reshape(n, height, width, -1, weights.shape[-1]), 3)

    def patchwise(self, x: jax.Array) -> jax.Array:
        """The weights of each window, (N, H, W, k * k, out_channels // share)."""
        windows = nn.neighbourhoods(self.conv2(x), **self.windows)
        patches = windows.swapaxes(3, 4).reshape(*x.shape[:3], -1)
        weights = self.conv_w(jnp.concatenate([self.conv1(x), patches], -1))
        return weights.reshape(*x.shape[:3], -1, windows.shape[3]).swapaxes(3, 4)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        checks.larger(self, self.windows["padding"], x=x.shape[1:3])
        weights = self.pairwise(x) if self.mode == "pairwise" else self.patchwise(x)
        values = nn.neighbourhoods(self.conv3(x), **self.windows)
        values = values.reshape(*values.shape[:4], self.share, -1)
        out = (weights[..., None, :] * values).sum(3)
        return out.reshape(*out.shape[:3], -1)
