"""The Flax worker: under ``nnx.jit``."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from multiattn.bench.request import Request
from multiattn.bench.worker import Array, Call, Subject, arrays, counted_peak, process_peak, serve
from multiattn.flax import create
from multiattn.verify.player import to_last


def floats(outputs: Any) -> list[jax.Array]:
    """The floating arrays among what a module has answered."""
    leaves = jax.tree.leaves(outputs)
    return [one for one in leaves if jnp.issubdtype(one.dtype, jnp.floating)]


@nnx.jit
def forward(module: nnx.Module, xs: list[jax.Array]) -> Any:
    return module(*xs)


def subject(module: nnx.Module, inputs: Sequence[Array], input_grads: bool = True) -> Subject:
    """The module on these inputs, which are channels last."""
    xs = [jnp.asarray(x) for x in inputs]
    module.eval()
    shapes = floats(nnx.eval_shape(lambda module, xs: module(*xs), module, xs))
    keys = jax.random.split(jax.random.key(0), len(shapes))
    cotangents = [jax.random.normal(k, o.shape, o.dtype) for k, o in zip(keys, shapes, strict=True)]
    parameters = nnx.DiffState(0, nnx.Param)

    @nnx.jit
    def gradients(module: nnx.Module, xs: list[jax.Array], cotangents: list[jax.Array]) -> Any:
        def loss(module: nnx.Module, xs: list[jax.Array]) -> jax.Array:
            outputs = floats(module(*xs))
            return sum(jnp.sum(o * c) for o, c in zip(outputs, cotangents, strict=True))

        return nnx.grad(loss, argnums=(parameters, 1) if input_grads else parameters)(module, xs)

    def evaluate() -> None:
        module.eval()
        jax.block_until_ready(forward(module, xs))

    def step() -> None:
        module.train()
        jax.block_until_ready(gradients(module, xs, cotangents))

    device = jax.local_devices()[0]
    return Subject(
        parameters=sum(one.size for one in jax.tree.leaves(nnx.state(module, nnx.Param))),
        forward=evaluate,
        step=step,
        device=device.platform,
        peak=memory(device),
    )


def memory(device: jax.Device) -> Callable[[Call], int]:
    if device.platform == "cpu":
        return process_peak
    return counted_peak(
        lambda: int(device.memory_stats()["peak_bytes_in_use"]),
        lambda: int(device.memory_stats()["bytes_in_use"]),
    )


def prepare(request: Request) -> Subject:
    module = create(request.name, **request.options, rngs=nnx.Rngs(0))
    inputs = [to_last(x, a) for x, a in zip(arrays(request), request.axes, strict=True)]
    return subject(module, inputs, request.input_grads)


if __name__ == "__main__":
    serve(prepare)
