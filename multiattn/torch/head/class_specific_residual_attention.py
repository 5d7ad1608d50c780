from math import inf

import torch
from torch import Tensor, nn

from multiattn import checks
from multiattn.torch.nn import amax

# Of the heads, by their number; an infinite temperature takes the maximum.
TEMPERATURES = {
    1: (1,),
    2: (1, inf),
    4: (1, 2, 4, inf),
    6: (1, 2, 3, 4, 5, inf),
    8: (1, 2, 3, 4, 5, 6, 7, inf),
}


class ClassSpecificResidualAttention(nn.Module):
    """Multi-label head: each class's mean score, plus its score where the class attends.

    "Residual Attention: A Simple but Effective Method for Multi-Label Recognition", Zhu and Wu,
    ICCV 2021.

    Args:
        in_channels: channels of the input.
        num_classes: number of logits.
        num_heads: classifiers that are summed, each with its temperature: 1, 2, 4, 6 or 8.
        lam: weight of the attended score.

    Shape: (N, C, H, W) -> (N, num_classes)
    """

    def __init__(self, in_channels: int, num_classes: int, *, num_heads: int = 1, lam: float = 0.1):
        super().__init__()
        checks.positive(self, in_channels=in_channels, num_classes=num_classes)
        checks.choice(self, TEMPERATURES, num_heads=num_heads)
        self.temperatures = TEMPERATURES[num_heads]
        self.lam = lam
        self.heads = nn.ModuleList(
            nn.Linear(in_channels, num_classes, bias=False) for _ in self.temperatures
        )

    def forward(self, x: Tensor) -> Tensor:
        classes = torch.cat([head.weight for head in self.heads])
        classes = classes / classes.norm(dim=1, keepdim=True)
        heads = (classes @ x.flatten(2)).chunk(len(self.heads), 1)  # (N, num_classes, H · W) each
        logits = 0
        for temperature, scores in zip(self.temperatures, heads, strict=True):
            if temperature == inf:
                attended = amax(scores, -1)
            else:
                attended = (scores * (temperature * scores).softmax(-1)).sum(-1)
            logits = logits + scores.mean(-1) + self.lam * attended
        return logits
