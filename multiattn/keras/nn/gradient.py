"""Functions with a gradient of their own."""

from collections.abc import Callable

from keras import ops


def custom_gradient(function: Callable, gradient: Callable, *inputs):
    """The function of the inputs, with a gradient of its own.

    Args:
        function: gives a tensor.
        gradient: called with the output's gradient and the inputs, gives that of each input, or
            None for no gradient.
        inputs: what the function is called with.
    """

    @ops.custom_gradient
    def call(*inputs):
        def backward(*given, upstream=None):
            # Keras gives the inputs too on PyTorch, and the output's gradient by name
            upstream = given[-1] if upstream is None else upstream
            found = zip(gradient(upstream, *inputs), inputs, strict=True)
            return tuple(ops.zeros_like(x) if one is None else one for one, x in found)

        return function(*inputs), backward

    return call(*inputs)
