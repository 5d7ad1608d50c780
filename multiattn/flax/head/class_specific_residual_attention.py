from math import inf

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn

# Of the heads, by their number; an infinite temperature takes the maximum.
TEMPERATURES = {
    1: (1,),
    2: (1, inf),
    4: (1, 2, 4, inf),
    6: (1, 2, 3, 4, 5, inf),
    8: (1, 2, 3, 4, 5, 6, 7, inf),
}


class ClassSpecificResidualAttention(nnx.Module):
    """Multi-label head: each class's mean score, plus its score where the class attends.

    "Residual Attention: A Simple but Effective Method for Multi-Label Recognition", Zhu and Wu,
    ICCV 2021.

    Args:
        in_channels: channels of the input.
        num_classes: number of logits.
        num_heads: classifiers that are summed, each with its temperature: 1, 2, 4, 6 or 8.
        lam: weight of the attended score.

    Shape: (N, H, W, C) -> (N, num_classes)
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        num_heads: int = 1,
        lam: float = 0.1,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, in_channels=in_channels, num_classes=num_classes)
        checks.choice(self, TEMPERATURES, num_heads=num_heads)
        self.temperatures = TEMPERATURES[num_heads]
        self.lam = lam
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.heads = nn.ModuleList(
            nn.Linear(in_channels, num_classes, bias=False, **layer) for _ in self.temperatures
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        x, *classes = nn.promote(self.dtype, x, *(head.kernel for head in self.heads))
        classes = jnp.concatenate(classes, 1)
        classes = classes / jnp.linalg.norm(classes, axis=0)
        heads = jnp.split(
            x.reshape(len(x), -1, x.shape[-1]) @ classes, len(self.heads), -1
        )  # (N, H · W, num_classes) each
        logits = 0
        for temperature, scores in zip(self.temperatures, heads, strict=True):
            if temperature == inf:
                attended = nn.amax(scores, 1)
            else:
                attended = (scores * nn.softmax(temperature * scores, 1)).sum(1)
            logits = logits + scores.mean(1) + self.lam * attended
        return logits
