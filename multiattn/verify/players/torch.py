"""The PyTorch player."""

import copy
import inspect
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from multiattn.verify.player import Array, Arrays, Player, Step, Way, serve, size_axes
from multiattn.weights import load_state_dict
from multiattn.weights.walk import TorchSlot


class TorchPlayer(Player):
    def __init__(self) -> None:
        super().__init__()
        torch.set_num_threads(1)

    def make(self, precision: str, inputs: list[Array]) -> nn.Module:
        module = self.setup.cls()(**self.setup.options)
        return module.to(getattr(torch, precision)).eval()

    def forward(self, module: nn.Module, inputs: list[Array]) -> list[Array]:
        with torch.no_grad():
            outputs = self.call(module, *tensors(inputs))
        return arrays_of(outputs)

    def step(
        self, module: nn.Module, inputs: list[Array], cotangents: list[Array], training: bool
    ) -> Step:
        xs = tensors(inputs)
        floating = [x.requires_grad_() for x in xs if x.is_floating_point()]
        module.train(training)
        outputs = self.call(module, *xs)
        module.eval()
        pairs = zip(outputs, tensors(cotangents), strict=True)
        loss = sum((o * c).sum() for o, c in pairs if o.is_floating_point())
        params = dict(module.named_parameters())
        grads = torch.autograd.grad(
            loss, [*floating, *params.values()], allow_unused=True, materialize_grads=True
        )
        return Step(
            arrays_of(outputs),
            arrays_of(grads[: len(floating)]),
            dict(zip(params, arrays_of(grads[len(floating) :]), strict=True)),
        )

    def compiled(self, module: nn.Module, inputs: list[Array]) -> dict[str, Way | str]:
        if self.setup.method is not None:
            return {"torch.compile": "the case calls a method"}
        torch._dynamo.reset()
        whole = torch.compile(module, fullgraph=True, backend="eager")
        return {"torch.compile": lambda xs: self.forward(whole, xs)}

    def unknown_sizes(self, module: nn.Module, inputs: list[Array]) -> dict[str, Way | str]:
        if self.setup.method is not None:
            return {"torch.export": "the case calls a method"}
        examples: list[torch.Tensor] = []
        dynamic: Any = []
        for array, axes, any_size in zip(inputs, self.setup.axes, self.setup.free, strict=True):
            unknown = [0, *size_axes(axes)] if any_size else [0]
            shape = [n * 2 if axis in unknown else n for axis, n in enumerate(array.shape)]
            examples.append(torch.zeros(shape, dtype=torch.from_numpy(array).dtype))
            dynamic.append(dict.fromkeys(unknown, torch.export.Dim.AUTO))
        dynamic = inspect.signature(module.forward).bind(*dynamic).arguments
        # a size of 1 in an example, or only in a call, is to be as any other
        with torch.fx.experimental._config.patch(backed_size_oblivious=True):
            program = torch.export.export(module, tuple(examples), dynamic_shapes=dynamic).module()
        return {"torch.export": lambda arrays: self.forward(program, arrays)}

    def restored(self, module: nn.Module, inputs: list[Array], folder: Path) -> nn.Module:
        file = io.BytesIO()
        torch.save(module.state_dict(), file)
        file.seek(0)
        fresh = self.make("float32", inputs)
        fresh.load_state_dict(torch.load(file, weights_only=True))
        return fresh

    def mixed_precision(self, inputs: list[Array], state: Arrays) -> dict[str, list[Array]]:
        module = self.make("float32", inputs)
        load_state_dict(module, state)
        whole = copy.deepcopy(module).to(torch.bfloat16)
        halves = [x.to(torch.bfloat16) if x.is_floating_point() else x for x in tensors(inputs)]
        with torch.no_grad():
            with torch.autocast("cpu", torch.bfloat16):
                automatic = self.call(module, *tensors(inputs))
            cast = self.call(whole, *halves)
        return {"autocast": arrays_of(automatic), "bfloat16": arrays_of(cast)}


def tensors(arrays: list[Array]) -> list[torch.Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


def arrays_of(outputs: list[torch.Tensor]) -> list[Array]:
    return [TorchSlot(output).to_numpy() for output in outputs]


if __name__ == "__main__":
    serve(TorchPlayer)
