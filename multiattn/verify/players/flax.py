"""The Flax player: float64, jitted without optimisation, with a persistent compilation cache."""

import os
from functools import cache
from pathlib import Path
from typing import Any

os.environ["JAX_ENABLE_X64"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

from multiattn.verify.player import Array, Arrays, Player, Step, Way, serve, to_first, to_last
from multiattn.verify.players import use_compilation_cache
from multiattn.weights import load_state_dict
from multiattn.weights.walk import inventory


class FlaxPlayer(Player):
    def __init__(self) -> None:
        super().__init__()
        use_compilation_cache(jax)
        # what is called is no part of the arguments: a case's method must not find another's trace
        self._forward = cache(
            lambda method: nnx.jit(lambda module, inputs: self.call(module, *inputs))
        )
        self._step = cache(lambda method: nnx.jit(lambda *args: self._gradients(*args)))

    def make(self, precision: str, inputs: list[Array], **changes: Any) -> nnx.Module:
        options = {**self.setup.options, "param_dtype": jnp.dtype(precision), **changes}
        cls = self.setup.cls()
        module = nnx.eval_shape(lambda: cls(**options, rngs=nnx.Rngs(0)))
        for _, variable in nnx.iter_graph(module):
            if isinstance(variable, nnx.RngKey):
                variable.set_value(jax.random.key(0))
            elif isinstance(variable, nnx.Variable):
                variable.set_value(jnp.zeros(variable.shape, variable.dtype))
        module.eval()
        return module

    def own(self, arrays: list[Array]) -> list[jax.Array]:
        axes = self.setup.axes
        return [jnp.asarray(to_last(x, a)) for x, a in zip(arrays, axes, strict=True)]

    def canonical(self, outputs: list[jax.Array]) -> list[Array]:
        axes = self.setup.output_axes
        return [to_first(np.asarray(x), a) for x, a in zip(outputs, axes, strict=True)]

    def forward(self, module: nnx.Module, inputs: list[Array]) -> list[Array]:
        return self.canonical(self._forward(self.setup.method)(module, self.own(inputs)))

    def _gradients(
        self, module: nnx.Module, inputs: list[jax.Array], cotangents: list[jax.Array]
    ) -> Any:
        floating = [jnp.issubdtype(x.dtype, jnp.floating) for x in inputs]

        def loss(module: nnx.Module, differentiable: list[jax.Array]) -> Any:
            rest = iter(differentiable)
            xs = [next(rest) if is_one else x for x, is_one in zip(inputs, floating, strict=True)]
            outputs = self.call(module, *xs)
            pairs = zip(outputs, cotangents, strict=True)
            return sum(
                jnp.sum(o * c) for o, c in pairs if jnp.issubdtype(o.dtype, jnp.floating)
            ), outputs

        differentiable = [x for x, is_one in zip(inputs, floating, strict=True) if is_one]
        gradient = nnx.grad(loss, argnums=(nnx.DiffState(0, nnx.Param), 1), has_aux=True)
        (param_grads, input_grads), outputs = gradient(module, differentiable)
        return outputs, input_grads, param_grads

    def step(
        self, module: nnx.Module, inputs: list[Array], cotangents: list[Array], training: bool
    ) -> Step:
        weights = [to_last(c, a) for c, a in zip(cotangents, self.setup.output_axes, strict=True)]
        module.train() if training else module.eval()
        outputs, input_grads, param_grads = self._step(self.setup.method)(
            module, self.own(inputs), weights
        )
        module.eval()
        gradients = nnx.clone(module)
        nnx.update(gradients, param_grads)
        slots = inventory(gradients).slots
        axes = [a for x, a in zip(inputs, self.setup.axes, strict=True) if x.dtype.kind == "f"]
        return Step(
            self.canonical(outputs),
            [to_first(np.asarray(g), a) for g, a in zip(input_grads, axes, strict=True)],
            {name: s.read() for name, s in slots.items() if isinstance(s.variable, nnx.Param)},
        )

    def compiled(self, module: nnx.Module, inputs: list[Array]) -> dict[str, Way | str]:
        """Everything else is jitted here: this is the plain call that it must agree with."""
        return {"nnx.jit": lambda xs: self.canonical(self.call(module, *self.own(xs)))}

    def unknown_sizes(self, module: nnx.Module, inputs: list[Array]) -> dict[str, Way | str]:
        return {"nnx.jit": "sizes are static under jit"}

    def restored(self, module: nnx.Module, inputs: list[Array], folder: Path) -> nnx.Module:
        fresh = self.make("float32", inputs)
        kinds = (nnx.Param, nnx.BatchStat)
        if state := nnx.state(module, kinds):
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(folder / "state", state)
                checkpointer.wait_until_finished()
                nnx.update(fresh, checkpointer.restore(folder / "state", nnx.state(fresh, kinds)))
        return fresh

    def mixed_precision(self, inputs: list[Array], state: Arrays) -> dict[str, list[Array]]:
        module = self.make("float32", inputs, dtype=jnp.bfloat16)
        load_state_dict(module, state)
        return {"bfloat16": self.forward(module, inputs)}


if __name__ == "__main__":
    serve(FlaxPlayer)
