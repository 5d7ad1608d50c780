from collections.abc import Sequence
from functools import partial

from keras import ops
from keras.backend import result_type

from multiattn import checks
from multiattn.keras import nn


def resample(x, centres, halves, out_size: int):
    """Cuts a softly masked range out of the first of three axes, and enlarges it to out_size."""
    n, size, other, channels = ops.shape(x)
    dtype = centres.dtype
    steps = ops.arange(out_size, dtype=dtype)
    images = ops.reshape(ops.arange(n, dtype="int32"), (n, 1))
    rows = ops.reshape(x, (-1, other, channels))
    first_row, size = images * size, ops.cast(size, dtype)
    halves = ops.expand_dims(ops.maximum(halves, size / 3), 1)
    centres = ops.minimum(ops.maximum(ops.expand_dims(centres, 1), halves), size - halves)
    first = ops.floor(ops.maximum(centres - halves, 0))
    end = ops.floor(ops.minimum(centres + halves, size))
    places = first + steps * ((end - 1 - first) / max(out_size - 1, 1))
    low = ops.floor(places)
    pixels = ops.concatenate([low, ops.minimum(low + 1, end - 1)], 1)  # (N, 2 · out_size)
    weights = ops.concatenate([low + 1 - places, places - low], 1)
    mask = nn.sigmoid(10 * (pixels - first)) - nn.sigmoid(10 * (pixels - end))
    taken = ops.take(rows, first_row + ops.cast(pixels, "int32"), 0)
    taken = taken * ops.cast(ops.expand_dims(weights * mask, (2, 3)), x.dtype)
    return ops.sum(ops.reshape(taken, (n, 2, out_size, other, channels)), 1)


def crop(images, squares, out_size: int):
    """Cuts squares (row, column, half side) out of images, and enlarges them."""
    rows, columns, halves = ops.unstack(squares, 3, 1)
    images = ops.swapaxes(resample(images, rows, halves, out_size), 1, 2)
    return ops.swapaxes(resample(images, columns, halves, out_size), 1, 2)


def pull(upstream, images, squares):
    """Squares move to where the crop's gradient is large, and grow if that is at their borders."""
    size = upstream.shape[1]
    steps = 3 * ops.arange(size, dtype="int32")
    side = ops.cast(steps >= 2 * size, squares.dtype) - ops.cast(steps < size, squares.dtype)
    row_side = ops.expand_dims(side, 1)
    force = -ops.sum(ops.square(ops.cast(upstream, squares.dtype)), -1)
    border = ops.maximum(ops.abs(side), ops.abs(row_side))
    forces = [force * row_side, force * side, force * (2 * border - 1)]
    return None, ops.sum(ops.stack(forces, 1), (2, 3))


class AttentionProposal(nn.Module):
    """Predicts the square of an image that is worth a closer look, and enlarges it.

    "Look Closer to See Better: Recurrent Attention Convolutional Neural Network for Fine-grained
    Image Recognition", Fu et al., CVPR 2017. The square's gradient is the paper's, made by hand.

    Args:
        feature_size: height and width of the features; an int for both.
        hidden_channels: hidden units of the head that predicts the square.
        out_size: height, and width, of the crops.

    Shape:
        images (N, A, A, K), features (N, h, w, C) -> crops (N, S, S, K); locations (N, 3) in
        (0, 1), as parts of A: the square's centre (row, column), and half its side.

    Raises:
        ValueError: the images aren't square, or the features aren't of feature_size.
    """

    def __init__(
        self,
        feature_size: int | Sequence[int],
        *,
        hidden_channels: int = 1024,
        out_size: int = 224,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive(self, hidden_channels=hidden_channels, out_size=out_size)
        size = (feature_size, feature_size) if isinstance(feature_size, int) else feature_size
        checks.length(self, 2, feature_size=size)
        checks.positive(self, feature_size=size)
        height, width = size
        self.feature_size = (height, width)
        self.hidden_channels = hidden_channels
        self.out_size = out_size

    def setup(self, images_shape, features_shape):
        checks.sizes(self, self.feature_size, features=features_shape[1:3])
        self.apn = nn.Sequential(nn.Linear(self.hidden_channels), nn.tanh, nn.Linear(3))

    def call(self, images, features, training=None):
        height, width = ops.shape(images)[1:3]
        checks.sizes(self, (height, height), images=(height, width))
        checks.sizes(self, self.feature_size, features=ops.shape(features)[1:3])
        features = ops.reshape(features, (-1, *self.feature_size, features.shape[-1]))
        locations = nn.sigmoid(self.apn(nn.flatten(features), training=training))
        # coordinates need more digits than half precision has
        dtype = result_type(locations.dtype, "float32")
        squares = ops.cast(height, dtype) * ops.cast(locations, dtype)
        crops = nn.custom_gradient(partial(crop, out_size=self.out_size), pull, images, squares)
        return crops, locations
