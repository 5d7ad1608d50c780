from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks, constants
from multiattn.flax import nn


class FrequencyChannelAttention(nnx.Module):
    """Squeeze-and-excitation whose squeeze is a cosine transform: each group has its frequency.

    "FcaNet: Frequency Channel Attention Networks", Qin et al., ICCV 2021.

    Args:
        channels: channels of the input, and of the output; divisible by the frequencies' number.
        dct_size: size (height, width) that the map is pooled to before the transform.
        reduction: the bottleneck has channels // reduction channels, at least one.
        frequencies: "top", "low" or "bot", then their number: 1, 2, 4, 8, 16 or 32.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        dct_size: int | Sequence[int] = 7,
        reduction: int = 16,
        frequencies: str = "top16",
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        allowed = [f"{kind}{2**power}" for kind in constants.FREQUENCIES for power in range(6)]
        checks.choice(self, allowed, frequencies=frequencies)
        checks.divisible(
            self, by="frequencies", frequencies=int(frequencies[3:]), channels=channels
        )
        hidden = checks.quotient(self, channels=channels, reduction=reduction)
        self.dct_size = (dct_size, dct_size) if isinstance(dct_size, int) else tuple(dct_size)
        checks.length(self, 2, dct_size=self.dct_size)
        checks.positive(self, dct_size=min(self.dct_size))
        self.frequencies = frequencies
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.fc1 = nn.Linear(channels, hidden, bias=False, **layer)
        self.fc2 = nn.Linear(hidden, channels, bias=False, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        basis = jnp.asarray(constants.cosine_basis(self.frequencies, self.dct_size), x.dtype)
        pooled = nn.adaptive_avg_pool(x, self.dct_size)
        pooled = pooled.reshape(len(x), basis.shape[1], len(basis), -1)
        spectrum = jnp.einsum("npkc,kp->nkc", pooled, basis).reshape(len(x), -1)
        context = self.fc2(nn.relu(self.fc1(spectrum)))
        return x * nn.sigmoid(context)[:, None, None, :]
