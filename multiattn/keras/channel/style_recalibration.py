from keras import ops
from keras.backend import result_type

from multiattn import checks
from multiattn.keras import nn


class StyleRecalibration(nn.Module):
    """Style-based recalibration: gates each channel by its own mean and standard deviation.

    "SRM: A Style-based Recalibration Module for Convolutional Neural Networks", Lee et al.,
    ICCV 2019.

    Args:
        eps: added to the variance over the map; the batch norm has its own.

    Shape: (N, H, W, C) -> (N, H, W, C), H * W > 1

    Raises:
        ValueError: the map has a single position.
    """

    def __init__(self, *, eps: float = 1e-5, **kwargs):
        super().__init__(**kwargs)
        self.eps = eps

    def setup(self, shape):
        self.cfc = self.add_weight(
            name="cfc", shape=(shape[-1], 2), initializer=nn.initializers.zeros
        )
        self.bn = nn.BatchNorm()

    def call(self, x, training=None):
        height, width = ops.shape(x)[1:3]
        checks.several(self, x=(height, width))
        mean = ops.mean(x, (1, 2), keepdims=True)
        count = ops.cast(height * width, result_type(x.dtype, "float32"))
        unbiased = ops.cast(count / (count - 1), x.dtype)
        variance = ops.mean(ops.square(x - mean), (1, 2)) * unbiased
        deviation = ops.sqrt(variance + self.eps)
        style = self.cfc[:, 0] * mean[:, 0, 0] + self.cfc[:, 1] * deviation
        return x * nn.sigmoid(self.bn(style, training=training))[:, None, None, :]
