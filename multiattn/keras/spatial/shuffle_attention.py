from keras import ops

from multiattn import checks
from multiattn.keras import nn


class ShuffleAttention(nn.Module):
    """Shuffle attention: in each group half of the channels get a channel gate, half a spatial one.

    "SA-Net: Shuffle Attention for Deep Convolutional Neural Networks", Zhang and Yang,
    ICASSP 2021.

    Args:
        groups: groups of channels, which share all parameters; the channels are divisible by
            2 * groups.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(self, *, groups: int = 64, **kwargs):
        super().__init__(**kwargs)
        checks.positive(self, groups=groups)
        self.groups = groups

    def setup(self, shape):
        channels, groups = shape[-1], self.groups
        checks.divisible(self, by="2 * groups", channels=channels, **{"2 * groups": 2 * groups})
        half = channels // (2 * groups)

        def add(name: str, initializer, *shape: int):
            return self.add_weight(name=name, shape=shape, initializer=initializer)

        zeros, ones = nn.initializers.zeros, nn.initializers.ones
        self.cweight = add("cweight", zeros, 1, half, 1, 1)
        self.cbias = add("cbias", ones, 1, half, 1, 1)
        self.sweight = add("sweight", zeros, 1, half, 1, 1)
        self.sbias = add("sbias", ones, 1, half, 1, 1)
        self.gn_weight = add("gn_weight", ones, half)
        self.gn_bias = add("gn_bias", zeros, half)
        self.norm = nn.InstanceNorm()

    def call(self, x, training=None):
        n, height, width, c = ops.shape(x)
        cweight, cbias = self.cweight[0, :, 0, 0], self.cbias[0, :, 0, 0]
        sweight, sbias = self.sweight[0, :, 0, 0], self.sbias[0, :, 0, 0]
        split = (n, height, width, self.groups, c // (2 * self.groups))
        groups = ops.reshape(x, (n, height, width, self.groups, 2, split[-1]))
        channel, spatial = groups[..., 0, :], groups[..., 1, :]
        context = ops.mean(channel, (1, 2), keepdims=True)
        channel = channel * nn.sigmoid(cweight * context + cbias)
        context = ops.reshape(spatial, (n, height, width, c // 2))
        context = ops.reshape(self.norm(context, training=training), split)
        context = self.gn_weight * context + self.gn_bias
        spatial = spatial * nn.sigmoid(sweight * context + sbias)
        x = ops.reshape(ops.stack([channel, spatial], -2), (n, height, width, c))
        return nn.channel_shuffle(x, 2)
