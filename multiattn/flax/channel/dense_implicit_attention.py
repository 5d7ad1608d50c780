import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class DenseImplicitGates(nnx.Module):
    """The four gates of DIANet's cell from one of its inputs, by a bottleneck.

    Args:
        channels: channels of the input.
        reduction: the bottleneck has channels // reduction channels, at least one.

    Shape: (N, C) -> (N, 4C): input, forget, cell, output
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 4,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.fc1 = nn.Linear(channels, hidden, **layer)
        self.fc2 = nn.Linear(hidden, 4 * channels, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(nn.relu(self.fc1(x)))


class DenseImplicitAttention(nnx.Module):
    """Dense and implicit attention: the channel gate is an LSTM's state, from block to block.

    "DIANet: Dense-and-Implicit Attention Network", Huang et al., AAAI 2020.

    One module serves all blocks of a stage: each is given the state that the one before returned,
    the first one none.

    Args:
        channels: channels of the input, and of the output.
        reduction: the cell's bottlenecks have channels // reduction channels, at least one.

    Shape: (N, H, W, C), h (N, C), c (N, C) -> (N, H, W, C), h (N, C), c (N, C); without h or c
        they are zero
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 4,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.quotient(self, channels=channels, reduction=reduction)
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.ih = DenseImplicitGates(channels, reduction=reduction, **layer)
        self.hh = DenseImplicitGates(channels, reduction=reduction, **layer)

    def __call__(
        self, x: jax.Array, h: jax.Array | None = None, c: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        x, h, c = nn.promote(self.dtype, x, h, c)
        context = x.mean((1, 2))
        h = jnp.zeros_like(context) if h is None else h
        c = jnp.zeros_like(context) if c is None else c
        checks.sizes(self, context.shape[1:], h=h.shape[1:], c=c.shape[1:])
        enter, forget, new, leave = jnp.split(self.ih(context) + self.hh(h), 4, -1)
        c = nn.sigmoid(forget) * c + nn.sigmoid(enter) * nn.tanh(new)
        h = nn.sigmoid(leave) * nn.sigmoid(c)
        return x * h[:, None, None, :], h, c
