from keras import ops

from multiattn import checks
from multiattn.keras import nn


class SimAM(nn.Module):
    """SimAM: gates each element by its distance from its channel's mean; has no parameters.

    "SimAM: A Simple, Parameter-Free Attention Module for Convolutional Neural Networks",
    Yang et al., ICML 2021.

    Args:
        e_lambda: regulariser of the variance.
        denominator: "add" adds e_lambda to the variance; "clamp" holds four times the variance at
            e_lambda or above (the TensorFlow original, with e_lambda 1e-7).

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(self, *, e_lambda: float = 1e-4, denominator: str = "add", **kwargs):
        super().__init__(**kwargs)
        checks.positive(self, e_lambda=e_lambda)
        checks.choice(self, ("add", "clamp"), denominator=denominator)
        self.e_lambda = e_lambda
        self.denominator = denominator

    def call(self, x):
        height, width = ops.shape(x)[1:3]
        degrees = ops.cast(ops.maximum(height * width - 1, 1), x.dtype)
        distance = ops.square(x - ops.mean(x, (1, 2), keepdims=True))
        variance = ops.sum(distance, (1, 2), keepdims=True) / degrees
        if self.denominator == "add":
            energy = distance / (4 * (variance + self.e_lambda)) + 0.5
        else:
            energy = distance / ops.maximum(4 * variance, self.e_lambda) + 0.5
        return x * nn.sigmoid(energy)
