"""Normalisation with PyTorch's defaults and running statistics, over channels-last arrays.

`options` are those of every layer here: dtype, param_dtype, rngs; batch and instance norm also
take weight_init.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from multiattn import checks

from .common import promote, to_tuple
from .initializers import Initializer, ones, zeros


class _TrackingNorm(nnx.Module):
    """Normalises over the axes from `first_axis` to the channels, or by running statistics."""

    first_axis: int

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float,
        scale: bool,
        bias: bool,
        track: bool,
        *,
        weight_init: Initializer = ones,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        def values(initializer, dtype=param_dtype):
            return initializer(rngs.params(), (num_features,), dtype)

        self.weight = nnx.Param(values(weight_init)) if scale else None
        self.bias = nnx.Param(values(zeros)) if bias else None
        self.tracks = track
        if track:
            statistics = jnp.promote_types(param_dtype, jnp.float32)
            self.running_mean = nnx.BatchStat(values(zeros, statistics))
            self.running_var = nnx.BatchStat(values(ones, statistics))
        self.eps = eps
        self.momentum = momentum
        self.use_running_average = False
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        x, weight, bias = promote(self.dtype, x, self.weight, self.bias)
        y = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if self.tracks and self.use_running_average:
            mean, variance = self.running_mean[...], self.running_var[...]
        else:
            axes = tuple(range(self.first_axis, x.ndim - 1))
            mean = y.mean(axes, keepdims=True)
            variance = jnp.square(y - mean).mean(axes, keepdims=True)
            if self.tracks:
                self._track(mean, variance, count=y.size // mean.size)
        y = (y - mean) * lax.rsqrt(variance + self.eps) * (1 if weight is None else weight)
        return (y if bias is None else y + bias).astype(x.dtype)

    def set_view(self, use_running_average: bool | None = None):
        """Sets the mode for `nnx.view`."""
        if use_running_average is not None:
            self.use_running_average = use_running_average

    def _track(self, mean: jax.Array, variance: jax.Array, count: int):
        """Moves the running statistics towards those of `count` values, the variance unbiased."""
        if count < 2:
            checks.fail(self, "training needs more than one value per channel")
        unbiased = variance * (count / (count - 1))
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            new = lax.stop_gradient(new.reshape(-1, running.size).mean(0)).astype(running.dtype)
            running[...] = (1 - self.momentum) * running[...] + self.momentum * new


class BatchNorm(_TrackingNorm):
    """Batch normalisation of inputs of any rank; `scale`, `bias`: whether it learns one."""

    first_axis = 0

    def __init__(
        self, num_features: int, *, eps=1e-5, momentum=0.1, scale=True, bias=True, **options
    ):
        super().__init__(num_features, eps, momentum, scale, bias, True, **options)


class InstanceNorm(_TrackingNorm):
    """Normalisation of each channel of each sample; `affine`: whether it learns scale and bias."""

    first_axis = 1

    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        **options,
    ):
        track = track_running_stats
        super().__init__(num_features, eps, momentum, affine, affine, track, **options)


class LayerNorm(nnx.LayerNorm):
    """Normalisation over the last axis (an int, its size) or the last axes (a tuple of sizes)."""

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        *,
        eps: float = 1e-5,
        scale: bool = True,
        bias: bool = True,
        **options,
    ):
        shape = to_tuple(normalized_shape, 1)
        axes = tuple(range(-len(shape), 0))
        super().__init__(
            math.prod(shape),
            epsilon=eps,
            use_scale=scale,
            use_bias=bias,
            scale_init=lambda key, _, dtype: ones(key, shape, dtype),
            bias_init=lambda key, _, dtype: zeros(key, shape, dtype),
            reduction_axes=axes,
            feature_axes=axes,
            use_fast_variance=False,
            **options,
        )


class GroupNorm(nnx.GroupNorm):
    """Normalisation of groups of channels of each sample; `affine`: with learned scale and bias."""

    def __init__(
        self, num_groups: int, num_channels: int, *, eps=1e-5, affine: bool = True, **options
    ):
        checks.divisible(self, by="num_groups", num_channels=num_channels, num_groups=num_groups)
        super().__init__(
            num_channels,
            num_groups,
            epsilon=eps,
            use_scale=affine,
            use_bias=affine,
            scale_init=ones,
            bias_init=zeros,
            use_fast_variance=False,
            **options,
        )
