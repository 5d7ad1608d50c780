from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiattn import checks

ACTIVATIONS = {
    "sigmoid": torch.sigmoid,
    "hsigmoid": lambda x: F.relu6(x + 3) / 6,
    "softmax": lambda x: x.softmax(1),
}
GATES = (
    "sigmoid",
    "hsigmoid",
    "bn_sigmoid",
    "bn_hsigmoid",
    "bn_softmax",
    "mlp_sigmoid",
    "mlp_bn_hsigmoid",
)


class AttentiveNormalization(nn.Module):
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

    Shape: (N, C, H, W) -> (N, C, H, W)
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
    ):
        super().__init__()
        checks.choice(self, ("batch", "group"), norm=norm)
        gate = gate or ("bn_hsigmoid" if norm == "batch" else "hsigmoid")
        checks.choice(self, GATES, gate=gate)
        if components < 2:
            checks.fail(self, f"components ({components}) must be at least 2")
        if norm == "group" and "bn" in gate:
            checks.fail(self, f"gate ({gate!r}) needs norm 'batch'")
        if norm == "batch":
            self.norm = nn.BatchNorm2d(channels, eps=eps, momentum=momentum, affine=False)
        else:
            checks.divisible(self, by="groups", groups=groups, channels=channels)
            self.norm = nn.GroupNorm(groups, channels, eps=eps, affine=False)
        *layers, activation = gate.split("_")
        self.activation = ACTIVATIONS[activation]
        self.attention = nn.Sequential()
        widths = (2 * components, components) if "mlp" in layers else (components,)
        for inputs, outputs in pairwise((channels, *widths)):
            if len(self.attention):
                self.attention.append(nn.ReLU())
            self.attention.append(nn.Conv2d(inputs, outputs, 1, bias="bn" not in layers))
            if "bn" in layers:
                self.attention.append(nn.BatchNorm2d(outputs))
        self.weight_ = nn.Parameter(torch.empty(components, channels).normal_(1, 0.1))
        self.bias_ = nn.Parameter(torch.empty(components, channels).normal_(0, 0.1))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True)
        logits = self.attention(mean * torch.rsqrt(variance + 1e-3)).flatten(1)
        mixing = self.activation(logits)
        weight, bias = mixing @ self.weight_, mixing @ self.bias_
        return self.norm(x) * weight[:, :, None, None] + bias[:, :, None, None]
