from keras import ops

from multiattn import checks
from multiattn.keras import nn


class GatedChannelTransform(nn.Module):
    """Gated channel transformation: channels compete by their norms; starts as the identity.

    "Gated Channel Transformation for Visual Recognition", Yang et al., CVPR 2020.

    Args:
        eps: added under the roots or, with "l1", to the divisor.
        mode: the norm, "l2" or "l1".
        after_relu: the input is known not to be negative: "l1" does without the absolute value.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(self, *, eps: float = 1e-5, mode: str = "l2", after_relu: bool = False, **kwargs):
        super().__init__(**kwargs)
        checks.choice(self, ("l2", "l1"), mode=mode)
        self.eps = eps
        self.mode = mode
        self.after_relu = after_relu

    def setup(self, shape):
        def add(name: str, initializer):
            return self.add_weight(name=name, shape=(1, shape[-1], 1, 1), initializer=initializer)

        self.alpha = add("alpha", nn.initializers.ones)
        self.gamma = add("gamma", nn.initializers.zeros)
        self.beta = add("beta", nn.initializers.zeros)

    def call(self, x):
        parameters = (self.alpha, self.gamma, self.beta)
        alpha, gamma, beta = (ops.reshape(parameter, -1) for parameter in parameters)
        if self.mode == "l2":
            norm = ops.sqrt(ops.sum(ops.square(x), (1, 2), keepdims=True) + self.eps)
            embedding = alpha * norm
            scale = ops.sqrt(ops.mean(ops.square(embedding), -1, keepdims=True) + self.eps)
        else:
            norm = ops.sum(x if self.after_relu else nn.absolute(x), (1, 2), keepdims=True)
            embedding = alpha * norm
            scale = ops.mean(nn.absolute(embedding), -1, keepdims=True) + self.eps
        return x * (1 + nn.tanh(embedding * (gamma / scale) + beta))
