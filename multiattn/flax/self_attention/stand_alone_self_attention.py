import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class StandAloneSelfAttention(nnx.Module):
    """Stand-alone self-attention: each pixel attends to its window, in place of a convolution.

    "Stand-Alone Self-Attention in Vision Models", Ramachandran et al., NeurIPS 2019.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; even, and divisible by groups.
        kernel_size: of the window; odd.
        groups: number of heads in mode "dot_product".
        bias: of the three projections; the input is padded before them.
        mode: "channel" (every channel has a softmax of its own, as in the port in general use) or
            "dot_product" (one per head, as in the paper).

    Shape: (N, H, W, in_channels) -> (N, H, W, out_channels)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 7,
        groups: int = 8,
        bias: bool = False,
        mode: str = "channel",
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.choice(self, ("channel", "dot_product"), mode=mode)
        checks.odd(self, kernel_size=kernel_size)
        checks.positive(self, in_channels=in_channels, out_channels=out_channels)
        checks.divisible(self, by="groups", groups=groups, out_channels=out_channels)
        if out_channels % 2:
            checks.fail(self, f"out_channels ({out_channels}) must be even")
        self.kernel_size = kernel_size
        self.num_heads = groups if mode == "dot_product" else out_channels
        self.dtype = dtype
        layer = {
            "bias": bias,
            "weight_init": nn.initializers.kaiming_normal("fan_out"),
            "dtype": dtype,
            "param_dtype": param_dtype,
            "rngs": rngs,
        }
        normal, half = nn.initializers.normal(), out_channels // 2
        self.rel_h = nnx.Param(normal(rngs.params(), (half, 1, 1, kernel_size, 1), param_dtype))
        self.rel_w = nnx.Param(normal(rngs.params(), (half, 1, 1, 1, kernel_size), param_dtype))
        self.key_conv = nn.Conv2d(in_channels, out_channels, 1, **layer)
        self.query_conv = nn.Conv2d(in_channels, out_channels, 1, **layer)
        self.value_conv = nn.Conv2d(in_channels, out_channels, 1, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        x, *offsets = nn.promote(self.dtype, x, self.rel_h, self.rel_w)
        k = self.kernel_size
        padded = nn.pad(x, ((k // 2, k // 2),) * 2)
        offsets = jnp.concatenate([jnp.broadcast_to(o, (len(o), 1, 1, k, k)) for o in offsets])
        queries = self.query_conv(x)[:, :, :, None]
        keys = nn.neighbourhoods(self.key_conv(padded), k) + offsets.reshape(-1, k * k).T
        values = nn.neighbourhoods(self.value_conv(padded), k)
        queries, keys, values = (
            maps.reshape(*maps.shape[:4], self.num_heads, -1) for maps in (queries, keys, values)
        )
        attention = nn.softmax((queries * keys).sum(-1, keepdims=True), 3)
        return (attention * values).sum(3).reshape(*x.shape[:3], -1)
