import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class PositionAttention(nnx.Module):
    """The position branch of DANet: unscaled self-attention over all pixels, added by a factor.

    "Dual Attention Network for Scene Segmentation", Fu et al., CVPR 2019.

    Args:
        channels: channels of the input, and of the output.
        reduction: queries and keys have channels // reduction channels, at least one.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 8,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.query_conv = nn.Conv2d(channels, hidden, 1, **layer)
        self.key_conv = nn.Conv2d(channels, hidden, 1, **layer)
        self.value_conv = nn.Conv2d(channels, channels, 1, **layer)
        self.gamma = nnx.Param(nn.initializers.zeros(rngs.params(), (1,), param_dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        x, gamma = nn.promote(self.dtype, x, self.gamma)
        queries, keys, values = (
            maps.reshape(len(x), -1, 1, maps.shape[-1])
            for maps in (self.query_conv(x), self.key_conv(x), self.value_conv(x))
        )
        context = nn.scaled_dot_product_attention(queries, keys, values, scale=1.0)
        return gamma * context.reshape(x.shape) + x


class ChannelSelfAttention(nnx.Module):
    """The channel branch of DANet: mixes each channel from those most unlike it.

    "Dual Attention Network for Scene Segmentation", Fu et al., CVPR 2019.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(self, *, dtype=None, param_dtype=jnp.float32, rngs: nnx.Rngs):
        self.dtype = dtype
        self.gamma = nnx.Param(nn.initializers.zeros(rngs.params(), (1,), param_dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        x, gamma = nn.promote(self.dtype, x, self.gamma)
        channels = x.reshape(len(x), -1, x.shape[-1])
        attention = nn.softmax(-(channels.mT @ channels))
        return gamma * (channels @ attention.mT).reshape(x.shape) + x


def conv_norm_relu(in_channels: int, out_channels: int, **layer) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False, **layer),
        nn.BatchNorm(out_channels, **layer),
        nn.relu,
    )


class DualAttention(nnx.Module):
    """DANet's head: position and channel attention side by side, summed.

    "Dual Attention Network for Scene Segmentation", Fu et al., CVPR 2019.

    Args:
        in_channels: channels of the input; the branches have in_channels // 4.
        num_classes: None for the fused features; a number for classifiers of the fused features
            and of both branches.
        reduction: of the position branch: its queries have in_channels // 4 // reduction channels.
        dropout: rate of the channel dropout before each classifier.

    Shape:
        (N, H, W, C) -> (N, H, W, C // 4), or with num_classes K three maps (N, H, W, K): fused,
        position, channel.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        num_classes: int | None = None,
        reduction: int = 8,
        dropout: float = 0.1,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        hidden = in_channels // 4
        self.num_classes = num_classes
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.conv5a = conv_norm_relu(in_channels, hidden, **layer)
        self.conv5c = conv_norm_relu(in_channels, hidden, **layer)
        self.sa = PositionAttention(hidden, reduction=reduction, **layer)
        self.sc = ChannelSelfAttention(**layer)
        self.conv51 = conv_norm_relu(hidden, hidden, **layer)
        self.conv52 = conv_norm_relu(hidden, hidden, **layer)
        if num_classes is not None:
            self.conv6, self.conv7, self.conv8 = (
                nn.Sequential(
                    nn.Dropout2d(dropout, rngs=rngs), nn.Conv2d(hidden, num_classes, 1, **layer)
                )
                for _ in range(3)
            )

    def __call__(self, x: jax.Array) -> jax.Array | tuple[jax.Array, jax.Array, jax.Array]:
        x = nn.promote(self.dtype, x)
        position = self.conv51(self.sa(self.conv5a(x)))
        channel = self.conv52(self.sc(self.conv5c(x)))
        fused = position + channel
        if self.num_classes is None:
            return fused
        return self.conv8(fused), self.conv6(position), self.conv7(channel)
