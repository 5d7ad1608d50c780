from keras import ops

from multiattn import checks
from multiattn.keras import nn


class TripletGate(nn.Module):
    """A mask over two axes of a map, from its maximum and mean over the third.

    Args:
        kernel_size: odd.

    Shape: (N, A, B, 2) -> (N, A, B, 1), the two planes being the maximum and the mean
    """

    def __init__(self, *, kernel_size: int = 7, **kwargs):
        super().__init__(**kwargs)
        checks.odd(self, kernel_size=kernel_size)
        self.kernel_size = kernel_size

    def setup(self, shape):
        self.conv = nn.Conv2d(1, self.kernel_size, padding=self.kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm(momentum=0.01)

    def call(self, planes, training=None):
        return nn.sigmoid(self.bn(self.conv(planes), training=training))


class TripletAttention(nn.Module):
    """Triplet attention: the mean of three masks, one over each pair of axes of the map.

    "Rotate to Attend: Convolutional Triplet Attention Module", Misra et al., WACV 2021.

    Args:
        spatial: False leaves out the mask over height and width.
        kernel_size: of the masks' convolutions; odd.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(self, *, spatial: bool = True, kernel_size: int = 7, **kwargs):
        super().__init__(**kwargs)
        checks.odd(self, kernel_size=kernel_size)
        self.spatial = spatial
        self.kernel_size = kernel_size

    def setup(self, shape):
        self.cw = TripletGate(kernel_size=self.kernel_size)
        self.hc = TripletGate(kernel_size=self.kernel_size)
        self.hw = TripletGate(kernel_size=self.kernel_size) if self.spatial else None

    def call(self, x, training=None):
        def planes(axis):
            return ops.stack([nn.amax(x, axis), ops.mean(x, axis)], -1)

        columns = self.cw(ops.swapaxes(planes(1), 1, 2), training=training)
        rows = self.hc(planes(2), training=training)
        masks = [ops.transpose(columns, (0, 3, 2, 1)), ops.swapaxes(rows, 2, 3)]
        if self.hw is not None:
            masks.append(self.hw(planes(3), training=training))
        return x * (sum(masks) / len(masks))
