import math
from collections.abc import Sequence
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from multiattn import checks
from multiattn.flax import nn

# Frequencies along height and width on a grid of 7 by 7, in the order of their merit
FREQUENCIES = {
    "top": ("00600114513000324635526553342261", "01052020060463526333511242113053"),
    "low": ("00110221203401301234501234561234", "01012012230043154321065432106543"),
    "bot": ("61332412445146256162243355625536", "64466314456522514350311242115333"),
}


@lru_cache
def cosine_basis(frequencies: str, size: tuple[int, int]) -> np.ndarray:
    """The cosine transform's functions over a map, (k, height * width)."""
    kind, count = frequencies[:3], int(frequencies[3:])
    axes = []
    for digits, length in zip(FREQUENCIES[kind], size, strict=True):
        waves = np.array([int(digit) for digit in digits[:count]])[:, None] * (length // 7)
        axis = np.cos(math.pi * waves * (np.arange(length) + 0.5) / length) / math.sqrt(length)
        axes.append(np.where(waves == 0, axis, math.sqrt(2) * axis))
    rows, columns = axes
    return (rows[:, :, None] * columns[:, None, :]).reshape(count, -1)


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
        allowed = [f"{kind}{2**power}" for kind in FREQUENCIES for power in range(6)]
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
        basis = jnp.asarray(cosine_basis(self.frequencies, self.dct_size), x.dtype)
        pooled = nn.adaptive_avg_pool(x, self.dct_size)
        pooled = pooled.reshape(len(x), basis.shape[1], len(basis), -1)
        spectrum = jnp.einsum("npkc,kp->nkc", pooled, basis).reshape(len(x), -1)
        context = self.fc2(nn.relu(self.fc1(spectrum)))
        return x * nn.sigmoid(context)[:, None, None, :]
