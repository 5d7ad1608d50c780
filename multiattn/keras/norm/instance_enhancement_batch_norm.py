from keras import ops

from multiattn import checks
from multiattn.keras import nn


class InstanceEnhancementBatchNorm(nn.Module):
    """Batch norm whose scale is gated, channel by channel, by the image's own mean.

    "Instance Enhancement Batch Normalization: an Adaptive Regulator of Batch Noise", Liang et
    al., AAAI 2020.

    Args:
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics.

    Shape: (N, H, W, C) -> (N, H, W, C)

    Raises:
        ValueError: the input has other than four axes.
    """

    def __init__(self, *, eps: float = 1e-5, momentum: float = 0.1, **kwargs):
        super().__init__(**kwargs)
        self.eps = eps
        self.momentum = momentum

    def setup(self, shape):
        if len(shape) != 4:
            checks.fail(self, f"the input has {len(shape)} axes, expected 4")
        self.norm = nn.BatchNorm(eps=self.eps, momentum=self.momentum, scale=False, bias=False)

        def parameter(name: str, value: float):
            initial = nn.initializers.constant(value)
            return self.add_weight(name=name, shape=(1, shape[-1], 1, 1), initializer=initial)

        self.weight = parameter("weight", 1.0)
        self.bias = parameter("bias", 0.0)
        self.weight_readjust = parameter("weight_readjust", 0.0)
        self.bias_readjust = parameter("bias_readjust", -1.0)

    def call(self, x, training=None):
        weight, bias, weight_readjust, bias_readjust = (
            ops.reshape(one, (-1,))
            for one in (self.weight, self.bias, self.weight_readjust, self.bias_readjust)
        )
        mean = ops.mean(x, (1, 2), keepdims=True)
        gate = nn.sigmoid(mean * weight_readjust + bias_readjust)
        return self.norm(x, training=training) * (weight * gate) + bias
