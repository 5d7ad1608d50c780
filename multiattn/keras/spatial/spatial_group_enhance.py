from keras import ops

from multiattn import checks
from multiattn.keras import nn


class SpatialGroupEnhance(nn.Module):
    """Spatial group-wise enhance: gates each position of a group by its likeness to the mean.

    "Spatial Group-wise Enhance: Improving Semantic Feature Learning in Convolutional Networks",
    Li et al., arXiv 2019.

    Args:
        groups: the channels' number must be divisible by it.

    Shape: (N, H, W, C) -> (N, H, W, C), H * W > 1

    Raises:
        ValueError: the map has a single position, or channels that are not divisible by groups.
    """

    def __init__(self, *, groups: int = 64, **kwargs):
        super().__init__(**kwargs)
        checks.positive(self, groups=groups)
        self.groups = groups

    def setup(self, shape):
        checks.divisible(self, by="groups", groups=self.groups, channels=shape[-1])

        def add(name: str, initializer):
            return self.add_weight(name=name, shape=(1, self.groups, 1, 1), initializer=initializer)

        self.weight = add("weight", nn.initializers.zeros)
        self.bias = add("bias", nn.initializers.ones)

    def call(self, x):
        n, height, width, c = ops.shape(x)
        checks.several(self, x=(height, width))
        groups = ops.reshape(x, (n, height, width, self.groups, c // self.groups))
        likeness = ops.sum(groups * ops.mean(groups, (1, 2), keepdims=True), -1)
        likeness = likeness - ops.mean(likeness, (1, 2), keepdims=True)
        likeness = likeness / (nn.std(likeness, (1, 2), keepdims=True) + 1e-5)
        weight, bias = ops.reshape(self.weight, -1), ops.reshape(self.bias, -1)
        gate = nn.sigmoid(likeness * weight + bias)
        return ops.reshape(groups * gate[..., None], (n, height, width, c))
