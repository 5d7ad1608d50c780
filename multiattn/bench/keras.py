"""The Keras worker: compiled as ``Model.predict`` and ``Model.fit`` do it on each backend."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from multiattn.bench.request import Request
from multiattn.bench.worker import Array, Call, Subject, arrays, counted_peak, process_peak, serve
from multiattn.keras import create
from multiattn.verify.player import to_last

Tensors = list[Any]


@dataclass(frozen=True)
class Way:
    """How a backend calls a model, where, and what tells the memory of a call."""

    forward: Call
    step: Call
    device: str
    peak: Callable[[Call], int]


def floats(outputs: Any) -> Tensors:
    """The floating tensors among what a model has answered."""
    leaves = keras.tree.flatten(outputs)
    return [
        one
        for one in leaves
        if keras.backend.is_float_dtype(keras.backend.standardize_dtype(one.dtype))
    ]


def weighted(outputs: Any, cotangents: Tensors) -> Any:
    pairs = zip(floats(outputs), cotangents, strict=True)
    return sum(ops.sum(output * cotangent) for output, cotangent in pairs)


def tensorflow(model: keras.Model, xs: Tensors, cotangents: Tensors, input_grads: bool) -> Way:
    import tensorflow as tf

    evaluate = tf.function(lambda xs: model(xs, training=False), jit_compile=model.jit_compile)

    @tf.function(jit_compile=model.jit_compile)
    def gradients(xs: Tensors, cotangents: Tensors) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(xs)
            loss = weighted(model(xs, training=True), cotangents)
        variables = [variable.value for variable in model.trainable_variables]
        return tape.gradient(loss, [variables, xs if input_grads else []])

    def forward() -> None:
        evaluate(xs)
        tf.test.experimental.sync_devices()

    def step() -> None:
        gradients(xs, cotangents)
        tf.test.experimental.sync_devices()

    device = "GPU:0" if tf.config.list_physical_devices("GPU") else "CPU:0"
    memory = tf.config.experimental
    # TensorFlow keeps what it has freed, on a CPU as well: the process doesn't tell.
    peak = counted_peak(
        lambda: memory.get_memory_info(device)["peak"],
        lambda: memory.get_memory_info(device)["current"],
        lambda: memory.reset_memory_stats(device),
    )
    return Way(forward, step, device, peak)


def jax(model: keras.Model, xs: Tensors, cotangents: Tensors, input_grads: bool) -> Way:
    import jax

    trained = [variable.value for variable in model.trainable_variables]
    others = [variable.value for variable in model.non_trainable_variables]

    @jax.jit
    def evaluate(trained: Tensors, others: Tensors, xs: Tensors) -> Any:
        return model.stateless_call(trained, others, xs, training=False)[0]

    def loss(trained: Tensors, xs: Tensors, others: Tensors, cotangents: Tensors) -> Any:
        outputs, others = model.stateless_call(trained, others, xs, training=True)
        return weighted(outputs, cotangents), others

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1) if input_grads else 0, has_aux=True))
    device = jax.local_devices()[0]
    peak = counted_peak(
        lambda: device.memory_stats()["peak_bytes_in_use"],
        lambda: device.memory_stats()["bytes_in_use"],
    )
    return Way(
        lambda: jax.block_until_ready(evaluate(trained, others, xs)),
        lambda: jax.block_until_ready(gradients(trained, xs, others, cotangents)),
        device.platform,
        process_peak if device.platform == "cpu" else peak,
    )


def torch(model: keras.Model, xs: Tensors, cotangents: Tensors, input_grads: bool) -> Way:
    import torch

    xs = [x.requires_grad_(input_grads) for x in xs]
    sources = [variable.value for variable in model.trainable_variables]
    sources += xs if input_grads else []

    def wait() -> None:
        if xs[0].is_cuda:
            torch.cuda.synchronize()

    @torch.no_grad()
    def forward() -> None:
        model(xs, training=False)
        wait()

    def step() -> None:
        outputs = floats(model(xs, training=True))
        torch.autograd.grad(outputs, sources, cotangents, allow_unused=True)
        wait()

    cuda = torch.cuda
    peak = counted_peak(
        cuda.max_memory_allocated, cuda.memory_allocated, cuda.reset_peak_memory_stats
    )
    return Way(forward, step, xs[0].device.type, peak if xs[0].is_cuda else process_peak)


WAYS = {"tensorflow": tensorflow, "jax": jax, "torch": torch}


def subject(model: keras.Model, inputs: Sequence[Array], input_grads: bool = True) -> Subject:
    """The model on these inputs, which are channels last."""
    xs = [ops.convert_to_tensor(x) for x in inputs]
    cotangents = [keras.random.normal(o.shape, dtype=o.dtype) for o in floats(model.outputs)]
    way = WAYS[keras.backend.backend()](model, xs, cotangents, input_grads)
    parameters = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    return Subject(parameters, way.forward, way.step, way.device, peak=way.peak)


def functional(module: Callable[..., Any], shapes: Sequence[Sequence[int]]) -> keras.Model:
    """A model that consists of the module, for inputs of exactly these shapes."""
    inputs = [keras.Input(batch_shape=shape) for shape in shapes]
    return keras.Model(inputs, module(*inputs))


def prepare(request: Request) -> Subject:
    own = {k: v for k, v in request.options.items() if k not in request.input_widths}
    inputs = [to_last(x, a) for x, a in zip(arrays(request), request.axes, strict=True)]
    model = functional(create(request.name, **own), [x.shape for x in inputs])
    return subject(model, inputs, request.input_grads)


if __name__ == "__main__":
    serve(prepare)
