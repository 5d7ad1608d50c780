"""Functions with a gradient of their own."""

from collections.abc import Callable

import jax


def custom_gradient(
    function: Callable[..., jax.Array],
    gradient: Callable[..., tuple[jax.Array | None, ...]],
    *inputs: jax.Array,
) -> jax.Array:
    """The function of the inputs, with a gradient of its own.

    Args:
        function: gives an array.
        gradient: called with the output's gradient and the inputs, gives that of each input, or
            None for no gradient.
        inputs: what the function is called with.
    """
    call = jax.custom_vjp(function)
    call.defvjp(
        lambda *inputs: (function(*inputs), inputs),
        lambda inputs, upstream: gradient(upstream, *inputs),
    )
    return call(*inputs)
