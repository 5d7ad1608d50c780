"""Normalisation layers."""

import keras
from keras import ops
from keras.backend import result_type

from multiattn import checks

from .initializers import constant, ones, zeros
from .module import Module, SelfDescribing


class _Affine(SelfDescribing):
    """Over a stock normalisation: initial values that NumPy makes."""

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("gamma_initializer", ones)
        kwargs.setdefault("beta_initializer", zeros)
        super().__init__(*args, **kwargs)


class BatchNorm(_Affine, keras.layers.BatchNormalization):
    """Batch normalisation of the last axis, whose running variance is the unbiased one.

    Args:
        eps: added to the variance.
        momentum: the part of the new statistics in the running ones.
        scale: whether to multiply by a learned weight.
        bias: whether to add a learned bias.
        **kwargs: those of `keras.layers.BatchNormalization`.
    """

    def __init__(
        self,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        scale: bool = True,
        bias: bool = True,
        **kwargs,
    ):
        kwargs.setdefault("moving_mean_initializer", zeros)
        kwargs.setdefault("moving_variance_initializer", ones)
        super().__init__(epsilon=eps, momentum=1 - momentum, scale=scale, center=bias, **kwargs)

    def call(self, inputs, training=None, mask=None):
        updating = training and self.trainable and mask is None
        if updating and all(size == 1 for size in inputs.shape[:-1]):
            checks.fail(self, "training needs more than one value per channel")
        kept = self.momentum * self.moving_variance.value
        outputs = super().call(inputs, training=training, mask=mask)
        if updating:
            added = self.moving_variance.value - kept
            count = ops.size(inputs) // inputs.shape[-1]
            self.moving_variance.assign(kept + _unbiased(added, count))
        return outputs

    def _moments(self, inputs, mask):
        if mask is not None or self.synchronized:
            return super()._moments(inputs, mask)
        mean, variance = _moments(inputs, self._reduction_axes)
        return ops.reshape(mean, -1), ops.reshape(variance, -1)


class LayerNorm(_Affine, keras.layers.LayerNormalization):
    """Layer normalisation.

    Args:
        axis: the axis, or axes, that are normalised together.
        eps: added to the variance.
        scale: whether to multiply by a learned weight.
        bias: whether to add a learned bias.
        **kwargs: those of `keras.layers.LayerNormalization`.
    """

    def __init__(
        self,
        *,
        axis: int | tuple[int, ...] = -1,
        eps: float = 1e-5,
        scale: bool = True,
        bias: bool = True,
        **kwargs,
    ):
        super().__init__(axis=axis, epsilon=eps, scale=scale, center=bias, **kwargs)


class GroupNorm(_Affine, keras.layers.GroupNormalization):
    """Group normalisation of the last axis.

    Args:
        num_groups: groups of channels, each normalised by itself.
        eps: added to the variance.
        affine: whether to multiply by a learned weight and add a learned bias.
        **kwargs: those of `keras.layers.GroupNormalization`.
    """

    def __init__(self, num_groups: int, *, eps: float = 1e-5, affine: bool = True, **kwargs):
        super().__init__(num_groups, epsilon=eps, scale=affine, center=affine, **kwargs)

    def build(self, shape):
        checks.divisible(self, by="num_groups", num_channels=shape[-1], num_groups=self.groups)
        super().build(shape)

    def call(self, inputs):
        shape = ops.shape(inputs)
        x = ops.cast(inputs, result_type(inputs.dtype, "float32"))
        x = ops.reshape(x, (shape[0], -1, self.groups, shape[-1] // self.groups))
        mean, variance = _moments(x, (1, 3))
        x = ops.reshape((x - mean) * ops.rsqrt(variance + self.epsilon), shape)
        if self.scale:
            x = x * self.gamma + self.beta
        return ops.cast(x, self.compute_dtype)


class InstanceNorm(Module):
    """Normalisation of each channel of each sample.

    Args:
        eps: added to the variance.
        momentum: the part of the new statistics in the running ones.
        affine: whether to multiply by a learned weight and add a learned bias.
        track_running_stats: whether evaluation uses running statistics.
    """

    def __init__(
        self,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats

    def setup(self, shape):
        def add(name: str, value: float, trainable: bool):
            return self.add_weight(
                name=name,
                shape=shape[-1:],
                initializer=constant(value),
                trainable=trainable,
                autocast=False,
            )

        if self.affine:
            self.weight = add("weight", 1.0, trainable=True)
            self.bias = add("bias", 0.0, trainable=True)
        if self.track_running_stats:
            self.running_mean = add("running_mean", 0.0, trainable=False)
            self.running_var = add("running_var", 1.0, trainable=False)

    def call(self, x, training=None):
        x = ops.cast(x, result_type(x.dtype, "float32"))
        updating = self.track_running_stats and training and self.trainable
        if self.track_running_stats and not updating:
            mean, variance = self.running_mean.value, self.running_var.value
        else:
            mean, variance = _moments(x, tuple(range(1, len(x.shape) - 1)))
        if updating:
            if all(size == 1 for size in x.shape[1:-1]):
                checks.fail(self, "training needs more than one value per channel")
            count = ops.size(x[0]) // x.shape[-1]
            self._update(self.running_mean, mean)
            self._update(self.running_var, _unbiased(variance, count))
        x = (x - mean) * ops.rsqrt(variance + self.eps)
        if self.affine:
            x = x * self.weight + self.bias
        return ops.cast(x, self.compute_dtype)

    def _update(self, running: keras.Variable, statistic):
        """Moves a running statistic towards the mean of all samples'."""
        mean = ops.mean(ops.reshape(statistic, (-1, running.shape[0])), 0)
        running.assign((1 - self.momentum) * running.value + self.momentum * mean)


def _moments(x, axes):
    """Mean and variance, which Keras's own subtracts from each other on torch, losing digits."""
    mean = ops.mean(x, axes, keepdims=True)
    return mean, ops.mean(ops.square(x - mean), axes, keepdims=True)


def _unbiased(variance, count):
    """The variance of `count` values as it estimates that of their distribution."""
    count = ops.cast(count, variance.dtype)
    return variance * (count / ops.maximum(count - 1, 1))
