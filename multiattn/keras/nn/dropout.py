"""Dropout of samples; that of elements and of channels is Keras's own."""

import keras
from keras import ops
from keras.layers import Dropout

from .module import SelfDescribing


class DropPath(SelfDescribing, Dropout):
    """Dropout of whole samples: stochastic depth, on the branch of a residual block.

    Args:
        rate: the part that is dropped, in [0, 1]; the others are scaled by 1 / (1 - rate).
    """

    def __init__(self, rate: float, **kwargs):
        super().__init__(rate, **kwargs)

    def call(self, inputs, training=None):
        if not training or self.rate == 0:
            return inputs
        each = (ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
        return keras.random.dropout(inputs, self.rate, each, seed=self.seed_generator)
