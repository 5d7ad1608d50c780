from keras import ops

from multiattn import checks
from multiattn.keras import nn


class WeightedFeatureFusion(nn.Module):
    """Weighted feature fusion: adds maps with a learned scalar weight each, as BiFPN's nodes do.

    "EfficientDet: Scalable and Efficient Object Detection", Tan et al., CVPR 2020.

    Args:
        num_inputs: how many maps are added; at least 2.
        mode: how the weights are normalised: "fast" (ReLU, over their sum), "softmax", "sigmoid"
            (times 2 / num_inputs), or "sum" for none at all.
        eps: added to the weights' sum; of mode "fast".

    Shape:
        num_inputs maps (N, H, W, C_i) -> (N, H, W, C_0); of a map with fewer channels than the
        first the others count as zero, of one with more the first C_0 are taken.

    Raises:
        ValueError: another number of inputs, or inputs of different sizes.
    """

    def __init__(self, num_inputs: int, *, mode: str = "fast", eps: float = 1e-4, **kwargs):
        super().__init__(**kwargs)
        if num_inputs < 2:
            checks.fail(self, f"num_inputs ({num_inputs}) must be at least 2")
        checks.choice(self, ("fast", "softmax", "sigmoid", "sum"), mode=mode)
        self.num_inputs = num_inputs
        self.mode = mode
        self.eps = eps

    def setup(self, inputs_shape):
        if len(inputs_shape) != self.num_inputs:
            checks.fail(
                self, f"got {len(inputs_shape)} inputs, expected num_inputs ({self.num_inputs})"
            )
        if self.mode != "sum":
            initial = nn.initializers.constant(0.0 if self.mode == "sigmoid" else 1.0)
            self.w = self.add_weight(name="w", shape=(self.num_inputs,), initializer=initial)

    def normalized(self):
        """The factors of the inputs."""
        if self.mode == "softmax":
            return nn.softmax(self.w)
        if self.mode == "sigmoid":
            return nn.sigmoid(self.w) * (2 / self.num_inputs)
        positive = nn.relu(self.w)
        return positive / (ops.sum(positive) + self.eps)

    def call(self, *inputs):
        *size, channels = ops.shape(inputs[0])
        for index, x in enumerate(inputs):
            checks.sizes(self, size, **{f"input {index}": ops.shape(x)[:-1]})
        maps = [fit(x, channels) for x in inputs]
        if self.mode != "sum":
            weights = ops.unstack(self.normalized(), self.num_inputs)
            maps = [weight * x for weight, x in zip(weights, maps, strict=True)]
        return sum(maps[1:], maps[0])


def fit(x, channels: int):
    """The map with this many channels: zeros are added, or the last ones cut."""
    missing = channels - x.shape[-1]
    # the channels stand as a third spatial axis, which may be padded
    return nn.pad(x[..., None], ((0, 0), (0, 0), (0, missing)))[..., 0] if missing else x
