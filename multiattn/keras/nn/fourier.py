"""The Fourier transform of images, as two real arrays: the real and the imaginary part."""

import math

from keras import ops
from keras.backend import result_type


def rfft2(x):
    """Orthonormal transform over the places, (N, H, W, C) -> twice (N, H, W // 2 + 1, C)."""
    height, width = ops.shape(x)[1:3]
    x = ops.cast(x, result_type(x.dtype, "float32"))
    # Keras transforms the last axis
    rows = ops.rfft(ops.transpose(x, (0, 3, 1, 2)))
    real, imaginary = ops.fft(tuple(ops.swapaxes(part, 2, 3) for part in rows))
    scale = ops.sqrt(ops.cast(height * width, real.dtype))
    return (
        ops.transpose(real, (0, 3, 2, 1)) / scale,
        ops.transpose(imaginary, (0, 3, 2, 1)) / scale,
    )


def irfft2(real, imaginary, size: tuple[int, int]):
    """The inverse of `rfft2` for images of this size; drops what no real image can have."""
    height, width = size
    real, imaginary = (ops.transpose(part, (0, 3, 2, 1)) for part in (real, imaginary))
    # a transform's inverse is that of the conjugate, conjugated
    real, imaginary = ops.fft((real, -imaginary))
    rows = (ops.swapaxes(real, 2, 3), -ops.swapaxes(imaginary, 2, 3))
    x = ops.irfft(rows, fft_length=width) * math.sqrt(width / height)
    return ops.transpose(x, (0, 2, 3, 1))
