"""The Fourier transform of images, as two real arrays: the real and the imaginary part."""

import jax
import jax.numpy as jnp
from jax import lax


def rfft2(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Orthonormal transform over the places, (N, H, W, C) -> twice (N, H, W // 2 + 1, C)."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    spectrum = jnp.fft.rfft2(x, axes=(1, 2), norm="ortho")
    return spectrum.real, spectrum.imag


def irfft2(real: jax.Array, imaginary: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The inverse of `rfft2` for images of this size; drops what no real image can have."""
    return jnp.fft.irfft2(lax.complex(real, imaginary), size, axes=(1, 2), norm="ortho")
