"""The PyTorch worker: eager, as most of its users run it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from multiattn.bench.request import Request
from multiattn.bench.worker import Array, Call, Subject, arrays, counted_peak, process_peak, serve
from multiattn.torch import create

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def flat(outputs: Any) -> list[Tensor]:
    """The floating tensors among what a module has answered."""
    if isinstance(outputs, Tensor):
        return [outputs] if outputs.is_floating_point() else []
    values = outputs.values() if isinstance(outputs, dict) else outputs
    return [one for output in values or () for one in flat(output)]


def subject(module: nn.Module, inputs: Sequence[Array], input_grads: bool = True) -> Subject:
    """The module on these inputs."""
    module = module.to(DEVICE)
    xs = [torch.from_numpy(x).to(DEVICE).requires_grad_(input_grads) for x in inputs]
    with torch.no_grad():
        cotangents = [torch.randn_like(output) for output in flat(module.eval()(*xs))]
    parameters = list(module.parameters())
    sources = [*parameters, *(xs if input_grads else [])]

    def wait() -> None:
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    @torch.no_grad()
    def forward() -> None:
        module.eval()(*xs)
        wait()

    def step() -> None:
        outputs = flat(module.train()(*xs))
        torch.autograd.grad(outputs, sources, cotangents, allow_unused=True)
        wait()

    def multiply_adds() -> int:
        one = [x[:1] if len(x) == len(xs[0]) else x for x in xs]
        # In its plain form, fused attention is matrix products that are counted.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as count:
            module.eval()(*one)
        return count.get_total_flops() // 2

    return Subject(
        parameters=sum(parameter.numel() for parameter in parameters),
        forward=forward,
        step=step,
        device=DEVICE,
        multiply_adds=multiply_adds,
        peak=memory(),
    )


def memory() -> Callable[[Call], int]:
    if DEVICE == "cpu":
        return process_peak
    cuda = torch.cuda
    return counted_peak(
        cuda.max_memory_allocated, cuda.memory_allocated, cuda.reset_peak_memory_stats
    )


def prepare(request: Request) -> Subject:
    module = create(request.name, **request.options)
    return subject(module, arrays(request), request.input_grads)


if __name__ == "__main__":
    serve(prepare)
