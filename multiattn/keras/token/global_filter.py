from collections.abc import Sequence

from keras import ops

from multiattn import checks
from multiattn.keras import nn


class GlobalFilter(nn.Module):
    """Global filter: multiplies the Fourier transform of the tokens' map by a learned one.

    "Global Filter Networks for Image Classification", Rao et al., NeurIPS 2021.

    Args:
        size: of the map (height, width) whose positions the tokens are, row by row.

    Shape: (N, H * W, C) -> (N, H * W, C)

    Raises:
        ValueError: the tokens are not as many as the size says.
    """

    def __init__(self, size: int | Sequence[int] = (14, 14), **kwargs):
        super().__init__(**kwargs)
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        checks.length(self, 2, size=self.size)
        checks.positive(self, size=min(self.size))

    def setup(self, shape):
        height, width = self.size
        self.complex_weight = self.add_weight(
            name="complex_weight",
            shape=(height, width // 2 + 1, shape[-1], 2),
            initializer=nn.initializers.normal(0.02),
        )

    def call(self, x):
        height, width = self.size
        checks.sizes(self, (height * width,), x=ops.shape(x)[1:2])
        real, imaginary = nn.rfft2(ops.reshape(x, (-1, height, width, x.shape[-1])))
        weight = ops.cast(self.complex_weight, real.dtype)
        weight_real, weight_imaginary = weight[..., 0], weight[..., 1]
        maps = nn.irfft2(
            real * weight_real - imaginary * weight_imaginary,
            real * weight_imaginary + imaginary * weight_real,
            self.size,
        )
        return ops.cast(ops.reshape(maps, (-1, height * width, x.shape[-1])), x.dtype)
