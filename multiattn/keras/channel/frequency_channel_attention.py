from collections.abc import Sequence

from keras import ops

from multiattn import checks, constants
from multiattn.keras import nn


class FrequencyChannelAttention(nn.Module):
    """Squeeze-and-excitation whose squeeze is a cosine transform: each group has its frequency.

    "FcaNet: Frequency Channel Attention Networks", Qin et al., ICCV 2021.

    Args:
        dct_size: size (height, width) that the map is pooled to before the transform.
        reduction: the bottleneck has channels // reduction channels, at least one.
        frequencies: "top", "low" or "bot", then their number: 1, 2, 4, 8, 16 or 32, by which the
            channels are divisible.

    Shape: (N, H, W, C) -> (N, H, W, C)
    """

    def __init__(
        self,
        *,
        dct_size: int | Sequence[int] = 7,
        reduction: int = 16,
        frequencies: str = "top16",
        **kwargs,
    ):
        super().__init__(**kwargs)
        allowed = [f"{kind}{2**power}" for kind in constants.FREQUENCIES for power in range(6)]
        checks.choice(self, allowed, frequencies=frequencies)
        self.dct_size = (dct_size, dct_size) if isinstance(dct_size, int) else tuple(dct_size)
        checks.length(self, 2, dct_size=self.dct_size)
        checks.positive(self, dct_size=min(self.dct_size), reduction=reduction)
        self.reduction = reduction
        self.frequencies = frequencies

    def setup(self, shape):
        channels = shape[-1]
        checks.divisible(
            self, by="frequencies", frequencies=int(self.frequencies[3:]), channels=channels
        )
        hidden = checks.quotient(self, channels=channels, reduction=self.reduction)
        self.fc1 = nn.Linear(hidden, bias=False)
        self.fc2 = nn.Linear(channels, bias=False)

    def call(self, x, training=None):
        basis = constants.cosine_basis(self.frequencies, self.dct_size)
        count, places = basis.shape
        pooled = nn.adaptive_avg_pool(x, self.dct_size)
        pooled = ops.reshape(pooled, (-1, places, count, x.shape[-1] // count))
        basis = ops.convert_to_tensor(basis, x.dtype)
        spectrum = ops.reshape(ops.einsum("npkc,kp->nkc", pooled, basis), (-1, x.shape[-1]))
        context = self.fc2(nn.relu(self.fc1(spectrum)))
        return x * nn.sigmoid(context)[:, None, None, :]
