from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


def conv_norm_relu(in_channels: int, out_channels: int, rate: int = 0, **layer) -> list[Any]:
    """A 3x3 convolution of this dilation, or for 0 a 1x1 one, with batch norm and ReLU."""
    kernel_size = 3 if rate else 1
    conv = nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        padding=rate,
        dilation=max(rate, 1),
        bias=False,
        **layer,
    )
    return [conv, nn.BatchNorm(out_channels, **layer), nn.relu]


def global_mean(x: jax.Array) -> jax.Array:
    return x.mean((1, 2), keepdims=True)


class ASPP(nnx.Module):
    """Atrous spatial pyramid pooling: convolutions of several dilations side by side.

    "Rethinking Atrous Convolution for Semantic Image Segmentation", Chen et al., arXiv 2017
    (DeepLab v3); the sum is that of DeepLab v2.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; in mode "sum" the number of classes.
        atrous_rates: dilations of the 3x3 convolutions; at least one.
        mode: "concat": these, a 1x1 convolution and the global mean, each with norm and ReLU, are
            concatenated and projected; "sum": only the dilated convolutions, added.
        dropout: rate of dropout after the projection.

    Shape: (N, H, W, C) -> (N, H, W, out_channels)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        *,
        atrous_rates: Sequence[int] = (12, 24, 36),
        mode: str = "concat",
        dropout: float = 0.5,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, in_channels=in_channels, out_channels=out_channels)
        checks.nonempty(self, atrous_rates=atrous_rates)
        for rate in atrous_rates:
            checks.positive(self, atrous_rates=rate)
        checks.choice(self, ("concat", "sum"), mode=mode)
        self.mode = mode
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        if mode == "sum":
            self.convs = nn.ModuleList(
                nn.Conv2d(
                    in_channels,
                    out_channels,
                    3,
                    padding=rate,
                    dilation=rate,
                    weight_init=nn.initializers.normal(0.01),
                    bias_init=nn.initializers.zeros,
                    **layer,
                )
                for rate in atrous_rates
            )
            return
        self.convs = nn.ModuleList(
            nn.Sequential(*conv_norm_relu(in_channels, out_channels, rate, **layer))
            for rate in (0, *atrous_rates)
        )
        pooled = conv_norm_relu(in_channels, out_channels, **layer)
        self.convs.append(nn.Sequential(global_mean, *pooled))
        self.project = nn.Sequential(
            *conv_norm_relu(len(self.convs) * out_channels, out_channels, **layer),
            nn.Dropout(dropout, rngs=rngs),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        branches = [conv(x) for conv in self.convs]
        if self.mode == "sum":
            return sum(branches[1:], branches[0])
        branches[-1] = jnp.broadcast_to(branches[-1], branches[0].shape)
        return self.project(jnp.concatenate(branches, -1))
