from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class _CustomGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        # named arguments torch.compile miscounts where nothing needs a gradient
        function, ctx.gradient, *inputs = given
        ctx.save_for_backward(*inputs)
        return function(*inputs)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *ctx.gradient(upstream, *ctx.saved_tensors)


def custom_gradient(
    function: Callable[..., Tensor],
    gradient: Callable[..., tuple[Tensor | None, ...]],
    *inputs: Tensor,
) -> Tensor:
    """The function of the inputs, with a gradient of its own.

    Args:
        function: gives a tensor.
        gradient: called with the output's gradient and the inputs, gives that of each input, or
            None for no gradient.
        inputs: what the function is called with.
    """
    return _CustomGradient.apply(function, gradient, *inputs)
