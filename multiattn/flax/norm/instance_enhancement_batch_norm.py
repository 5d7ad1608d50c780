import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class InstanceEnhancementBatchNorm(nnx.Module):
    """Batch norm whose scale is gated, channel by channel, by the image's own mean.

    "Instance Enhancement Batch Normalization: an Adaptive Regulator of Batch Noise", Liang et
    al., AAAI 2020.

    Args:
        channels: channels of the input, and of the output.
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics.

    Shape: (N, H, W, C) -> (N, H, W, C)

    Raises:
        ValueError: the input has other than four axes.
    """

    def __init__(
        self,
        channels: int,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, channels=channels)
        self.dtype = dtype
        self.norm = nn.BatchNorm(
            channels,
            eps=eps,
            momentum=momentum,
            scale=False,
            bias=False,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )

        def parameter(value: float) -> nnx.Param:
            initial = nn.initializers.constant(value)
            return nnx.Param(initial(rngs.params(), (1, channels, 1, 1), param_dtype))

        self.weight = parameter(1.0)
        self.bias = parameter(0.0)
        self.weight_readjust = parameter(0.0)
        self.bias_readjust = parameter(-1.0)

    def __call__(self, x: jax.Array) -> jax.Array:
        if x.ndim != 4:
            checks.fail(self, f"the input has {x.ndim} axes, expected 4")
        x, *parameters = nn.promote(
            self.dtype, x, self.weight, self.bias, self.weight_readjust, self.bias_readjust
        )
        weight, bias, weight_readjust, bias_readjust = (one.reshape(-1) for one in parameters)
        gate = nn.sigmoid(x.mean((1, 2), keepdims=True) * weight_readjust + bias_readjust)
        return self.norm(x) * (weight * gate) + bias
