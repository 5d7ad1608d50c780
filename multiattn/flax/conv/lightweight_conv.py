import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class LightweightConv(nnx.Module):
    """A depthwise convolution over tokens, one kernel for each head, of sum one by a softmax.

    "Pay Less Attention with Lightweight and Dynamic Convolutions", Wu et al., ICLR 2019.

    Args:
        channels: channels of the input, and of the output; divisible by num_heads.
        kernel_size: of the kernels.
        num_heads: groups of neighbouring channels that share a kernel.
        causal: a token sees itself and those before it; otherwise it is in the kernel's middle.
        weight_softmax: whether the kernels are made of sum one.
        bias: adds a learned bias to each channel.
        weight_dropout: in training, the part of the kernels' taps that is dropped, for each token
            anew.

    Shape: (N, L, C) -> (N, L, C)
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 1,
        *,
        num_heads: int = 1,
        causal: bool = False,
        weight_softmax: bool = True,
        bias: bool = False,
        weight_dropout: float = 0.0,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, kernel_size=kernel_size)
        checks.divisible(self, by="num_heads", num_heads=num_heads, channels=channels)
        self.kernel_size = kernel_size
        self.num_heads = num_heads
        self.causal = causal
        self.weight_softmax = weight_softmax
        self.dropout = nn.Dropout(weight_dropout, rngs=rngs)
        self.dtype = dtype
        shape = (num_heads, 1, kernel_size)
        initial = nn.initializers.xavier_uniform()
        self.weight = nnx.Param(initial(rngs.params(), shape, param_dtype))
        initial = nn.initializers.zeros
        self.bias = nnx.Param(initial(rngs.params(), (channels,), param_dtype)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        x, weight, bias = nn.promote(self.dtype, x, self.weight, self.bias)
        n, length, channels = x.shape
        weight = nn.softmax(weight) if self.weight_softmax else weight
        before = self.kernel_size - 1 if self.causal else (self.kernel_size - 1) // 2
        margins = ((before, self.kernel_size - 1 - before),)
        if self.dropout.deterministic or not self.dropout.rate:
            kernels = jnp.repeat(weight, channels // self.num_heads, 0)
            return nn.conv1d(x, kernels, bias, padding=margins, groups=channels)
        places = np.arange(length)[:, None] + np.arange(self.kernel_size)
        windows = nn.pad(x, margins)[:, places]
        windows = windows.reshape(n, length, self.kernel_size, self.num_heads, -1)
        taps = self.dropout(jnp.broadcast_to(weight[:, 0].T, windows.shape[:-1]))
        x = (windows * taps[..., None]).sum(2).reshape(n, length, channels)
        return x if bias is None else x + bias
