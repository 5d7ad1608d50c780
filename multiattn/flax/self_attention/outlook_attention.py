from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class OutlookAttention(nnx.Module):
    """Outlook attention: each position predicts how the values of its window are mixed.

    "VOLO: Vision Outlooker for Visual Recognition", Yuan et al., TPAMI 2022.

    Args:
        channels: channels of the input, and of the output; divisible by num_heads.
        num_heads: number of heads.
        kernel_size: of the windows; odd.
        stride: windows are centred at every stride-th position.
        qkv_bias: bias of the values.
        attn_dropout: rate of dropout of the attention weights.
        proj_dropout: rate of dropout of the output.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        qkv_bias: bool = False,
        attn_dropout: float = 0.0,
        proj_dropout: float = 0.0,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, channels=channels, stride=stride)
        checks.divisible(self, by="num_heads", num_heads=num_heads, channels=channels)
        checks.odd(self, kernel_size=kernel_size)
        self.num_heads = num_heads
        self.kernel_size = kernel_size
        self.stride = stride
        self.scale = (channels // num_heads) ** -0.5
        self.dtype = dtype
        layer = {
            "weight_init": nn.initializers.trunc_normal(0.02),
            "bias_init": nn.initializers.zeros,
            "dtype": dtype,
            "param_dtype": param_dtype,
            "rngs": rngs,
        }
        self.v = nn.Linear(channels, channels, bias=qkv_bias, **layer)
        self.attn = nn.Linear(channels, kernel_size**4 * num_heads, **layer)
        self.attn_drop = nn.Dropout(attn_dropout, rngs=rngs)
        self.proj = nn.Linear(channels, channels, **layer)
        self.proj_drop = nn.Dropout(proj_dropout, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        size = x.shape[1:3]
        places, heads = self.kernel_size**2, self.num_heads
        windows: dict[str, Any] = {"padding": self.kernel_size // 2, "stride": self.stride}
        values = nn.neighbourhoods(self.v(x), self.kernel_size, **windows)
        values = values.reshape(len(x), -1, places, heads, x.shape[-1] // heads)
        centres = nn.avg_pool(x, self.stride, ceil_mode=True)
        attention = self.scale * self.attn(centres).reshape(len(x), -1, heads, places, places)
        attention = self.attn_drop(nn.softmax(attention))
        mixtures = jnp.einsum("nmhij,nmjhd->nmhdi", attention, values)
        mixtures = mixtures.reshape(*mixtures.shape[:2], -1)
        x = nn.fold(mixtures, size, self.kernel_size, **windows)
        return self.proj_drop(self.proj(x))
