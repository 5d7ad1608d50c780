from math import inf

from keras import ops

from multiattn import checks
from multiattn.keras import nn

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
        num_classes: number of logits.
        num_heads: classifiers that are summed, each with its temperature: 1, 2, 4, 6 or 8.
        lam: weight of the attended score.

    Shape: (N, H, W, C) -> (N, num_classes)
    """

    def __init__(self, num_classes: int, *, num_heads: int = 1, lam: float = 0.1, **kwargs):
        super().__init__(**kwargs)
        checks.positive(self, num_classes=num_classes)
        checks.choice(self, TEMPERATURES, num_heads=num_heads)
        self.num_classes = num_classes
        self.temperatures = TEMPERATURES[num_heads]
        self.lam = lam

    def setup(self, shape):
        self.heads = nn.ModuleList(
            [nn.Linear(self.num_classes, bias=False) for _ in self.temperatures]
        )
        for head in self.heads:
            head.build(shape)

    def call(self, x, training=None):
        n, height, width, channels = ops.shape(x)
        classes = ops.concatenate([head.kernel for head in self.heads], 1)
        classes = classes / ops.sqrt(ops.sum(ops.square(classes), 0))
        scores = ops.matmul(ops.reshape(x, (n, height * width, channels)), classes)
        heads = ops.split(scores, len(self.heads), -1)  # (N, H · W, num_classes) each
        logits = 0
        for temperature, scores in zip(self.temperatures, heads, strict=True):
            if temperature == inf:
                attended = nn.amax(scores, 1)
            else:
                attended = ops.sum(scores * nn.softmax(temperature * scores, 1), 1)
            logits = logits + ops.mean(scores, 1) + self.lam * attended
        return logits
