from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from multiattn import checks
from multiattn.flax import nn

ACTIVATIONS = {"sigmoid": nn.sigmoid, "hsigmoid": nn.hardsigmoid, "softmax": nn.softmax}
GATES = (
    "sigmoid",
    "hsigmoid",
    "bn_sigmoid",
    "bn_hsigmoid",
    "bn_softmax",
    "mlp_sigmoid",
    "mlp_bn_hsigmoid",
)


class AttentiveNormalization(nnx.Module):
    """Batch or group norm, whose scale and shift are mixed for each image from several.

    "Attentive Normalization", Li et al., ECCV 2020.

    Args:
        channels: channels of the input, and of the output.
        norm: "batch" or "group".
        components: how many scales and shifts are mixed; at least 2.
        groups: of the group norm; divides channels.
        gate: what the weights come from: "sigmoid", "hsigmoid", "bn_sigmoid", "bn_hsigmoid",
            "bn_softmax", "mlp_sigmoid" or "mlp_bn_hsigmoid"; one with "bn" is for norm "batch".
            None: "bn_hsigmoid" for "batch", "hsigmoid" for "group".
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        channels: int,
        *,
        norm: str = "batch",
        components: int = 10,
        groups: int = 32,
        gate: str | None = None,
        eps: float = 1e-5,
        momentum: float = 0.1,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.choice(self, ("batch", "group"), norm=norm)
        gate = gate or ("bn_hsigmoid" if norm == "batch" else "hsigmoid")
        checks.choice(self, GATES, gate=gate)
        if components < 2:
            checks.fail(self, f"components ({components}) must be at least 2")
        if norm == "group" and "bn" in gate:
            checks.fail(self, f"gate ({gate!r}) needs norm 'batch'")
        self.dtype = dtype
        layer = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        if norm == "batch":
            self.norm = nn.BatchNorm(
                channels, eps=eps, momentum=momentum, scale=False, bias=False, **layer
            )
        else:
            checks.divisible(self, by="groups", groups=groups, channels=channels)
            self.norm = nn.GroupNorm(groups, channels, eps=eps, affine=False, **layer)
        *layers, activation = gate.split("_")
        self.activation = ACTIVATIONS[activation]
        self.attention = nn.Sequential()
        widths = (2 * components, components) if "mlp" in layers else (components,)
        for inputs, outputs in pairwise((channels, *widths)):
            if len(self.attention):
                self.attention.append(nn.relu)
            self.attention.append(nn.Conv2d(inputs, outputs, 1, bias="bn" not in layers, **layer))
            if "bn" in layers:
                self.attention.append(nn.BatchNorm(outputs, **layer))
        shape = (components, channels)
        initial = nn.initializers.normal(0.1)
        self.weight_ = nnx.Param(1 + initial(rngs.params(), shape, param_dtype))
        self.bias_ = nnx.Param(initial(rngs.params(), shape, param_dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        x, weight, bias = nn.promote(self.dtype, x, self.weight_, self.bias_)
        mean, variance = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True, ddof=1)
        logits = self.attention(mean * lax.rsqrt(variance + 1e-3))
        mixing = self.activation(logits)
        return self.norm(x) * (mixing @ weight) + mixing @ bias
