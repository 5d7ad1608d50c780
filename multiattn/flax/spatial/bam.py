import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class BAMChannelGate(nnx.Module):
    """The channel branch of BAM: the map's mean through an MLP with batch norms.

    Args:
        channels: channels of the input, and of the output.
        reduction: the MLP has channels // reduction hidden channels, at least one.
        num_layers: hidden layers.

    Shape: (N, H, W, C) -> (N, 1, 1, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        num_layers: int = 1,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, num_layers=num_layers)
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        self.num_layers = num_layers
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        for i in range(num_layers):
            setattr(self, f"fc_{i}", nn.Linear(hidden if i else channels, hidden, **layer))
            setattr(self, f"bn_{i + 1}", nn.BatchNorm(hidden, **layer))
        self.fc_final = nn.Linear(hidden, channels, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        context = nn.promote(self.dtype, x).mean((1, 2))
        for i in range(self.num_layers):
            fc, bn = getattr(self, f"fc_{i}"), getattr(self, f"bn_{i + 1}")
            context = nn.relu(bn(fc(context)))
        return self.fc_final(context)[:, None, None, :]


class BAMSpatialGate(nnx.Module):
    """The spatial branch of BAM: a bottleneck of dilated convolutions down to one plane.

    Args:
        channels: channels of the input.
        reduction: the bottleneck has channels // reduction channels, at least one.
        dilation: of the 3x3 convolutions.
        num_convs: how many 3x3 convolutions.

    Shape: (N, H, W, C) -> (N, H, W, 1)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        dilation: int = 4,
        num_convs: int = 2,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, dilation=dilation, num_convs=num_convs)
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.conv_reduce = nn.Conv2d(channels, hidden, 1, **layer)
        self.bn_reduce = nn.BatchNorm(hidden, **layer)
        self.convs = nn.ModuleList(
            nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation, **layer)
            for _ in range(num_convs)
        )
        self.bns = nn.ModuleList(nn.BatchNorm(hidden, **layer) for _ in range(num_convs))
        self.conv_final = nn.Conv2d(hidden, 1, 1, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(self.bn_reduce(self.conv_reduce(x)))
        for conv, bn in zip(self.convs, self.bns, strict=True):
            x = nn.relu(bn(conv(x)))
        return self.conv_final(x)


class BAM(nnx.Module):
    """Bottleneck attention: a channel and a spatial branch side by side, combined to one gate.

    "BAM: Bottleneck Attention Module", Park et al., BMVC 2018.

    Args:
        channels: channels of the input, and of the output.
        reduction: both branches have channels // reduction hidden channels, at least one.
        dilation: of the spatial branch's 3x3 convolutions.
        num_layers: hidden layers of the channel branch.
        num_convs: 3x3 convolutions of the spatial branch.
        combine: "mul" multiplies the branches, as the authors' code does; "add" is the paper's
            formula.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        dilation: int = 4,
        num_layers: int = 1,
        num_convs: int = 2,
        combine: str = "mul",
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.choice(self, ("mul", "add"), combine=combine)
        self.combine = combine
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.channel_gate = BAMChannelGate(
            channels, reduction=reduction, num_layers=num_layers, **layer
        )
        self.spatial_gate = BAMSpatialGate(
            channels, reduction=reduction, dilation=dilation, num_convs=num_convs, **layer
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        channel, spatial = self.channel_gate(x), self.spatial_gate(x)
        gate = channel * spatial if self.combine == "mul" else channel + spatial
        return x * (1 + nn.sigmoid(gate))
