import torch
from torch import Tensor, nn

from multiattn import checks


class SimAM(nn.Module):
    """SimAM: gates each element by its distance from its channel's mean; has no parameters.

    "SimAM: A Simple, Parameter-Free Attention Module for Convolutional Neural Networks",
    Yang et al., ICML 2021.

    Args:
        e_lambda: regulariser of the variance.
        denominator: "add" adds e_lambda to the variance; "clamp" holds four times the variance at
            e_lambda or above (the TensorFlow original, with e_lambda 1e-7).

    Shape: (N, C, H, W) -> (N, C, H, W)
    """

    def __init__(self, *, e_lambda: float = 1e-4, denominator: str = "add"):
        super().__init__()
        checks.positive(self, e_lambda=e_lambda)
        checks.choice(self, ("add", "clamp"), denominator=denominator)
        self.e_lambda = e_lambda
        self.denominator = denominator

    def forward(self, x: Tensor) -> Tensor:
        degrees = max(x.shape[2] * x.shape[3] - 1, 1)
        distance = (x - x.mean((2, 3), keepdim=True)).square()
        variance = distance.sum((2, 3), keepdim=True) / degrees
        if self.denominator == "add":
            energy = distance / (4 * (variance + self.e_lambda)) + 0.5
        else:
            energy = distance / (4 * variance).clamp(min=self.e_lambda) + 0.5
        return x * torch.sigmoid(energy)
