import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class SCSEChannelGate(nnx.Module):
    """The channel gate of scSE: a bottleneck over the channels' means.

    Args:
        channels: channels of the input, and of the output.
        reduction: the bottleneck has channels // reduction channels, at least one.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 2,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.fc1 = nn.Linear(channels, hidden, **layer)
        self.fc2 = nn.Linear(hidden, channels, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        context = self.fc2(nn.relu(self.fc1(x.mean((1, 2)))))
        return x * nn.sigmoid(context)[:, None, None, :]


class SCSESpatialGate(nnx.Module):
    """The spatial gate of scSE: a weighted sum of the channels.

    Args:
        channels: channels of the input, and of the output.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(self, channels: int, *, dtype=None, param_dtype=jnp.float32, rngs: nnx.Rngs):
        self.conv = nn.Conv2d(channels, 1, 1, dtype=dtype, param_dtype=param_dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x * nn.sigmoid(self.conv(x))


class SCSE(nnx.Module):
    """Concurrent spatial and channel squeeze and excitation: two gates side by side, merged.

    "Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional Networks",
    Roy et al., MICCAI 2018.

    Args:
        channels: channels of the input, and of the output.
        reduction: the channel gate's bottleneck has channels // reduction channels, at least one.
        mode: "both", or one gate alone: "channel" or "spatial".
        fusion: of both: the elements' "max", as the authors' code has it, or "add", as the paper.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 2,
        mode: str = "both",
        fusion: str = "max",
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.choice(self, ("both", "channel", "spatial"), mode=mode)
        checks.choice(self, ("max", "add"), fusion=fusion)
        checks.quotient(self, channels=channels, reduction=reduction)
        self.fusion = fusion
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.cSE = (
            None if mode == "spatial" else SCSEChannelGate(channels, reduction=reduction, **layer)
        )
        self.sSE = None if mode == "channel" else SCSESpatialGate(channels, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        gated = [gate(x) for gate in (self.cSE, self.sSE) if gate is not None]
        if len(gated) == 1:
            return gated[0]
        channel, spatial = gated
        return nn.maximum(channel, spatial) if self.fusion == "max" else channel + spatial
