"""The Keras ground floor against PyTorch: values, gradients, statistics; and in Keras's own ways.

Runs on the backend that KERAS_BACKEND names.
"""

from functools import reduce

import keras
import numpy as np
import pytest
from cases import FUNCTIONS, LAYERS, Case, flatten, reference
from keras.src.backend.common import dtypes

from multiattn.keras import nn

BACKEND = keras.backend.backend()
# Of values and of gradients; arrays are measured by their rms, or by the floor where that is less.
TOLERANCES = {"float64": (1e-9, 1e-9, 1e-3), "float32": (1e-5, 1e-4, 0.1)}


@pytest.fixture(autouse=True)
def float64_exists(monkeypatch):
    """Keras computes float64 in float32 on JAX and torch: not here."""
    monkeypatch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
    if BACKEND != "jax":
        yield
        return
    import jax

    with jax.enable_x64(True):
        yield


def to_last(array, layout: str):
    """An image's channels moved last."""
    return np.moveaxis(array, 1, -1) if layout == "image" else array


def to_first(array, layout: str):
    return np.moveaxis(array, -1, 1) if layout == "image" else array


def variable(layer: keras.Layer, name: str) -> tuple[keras.Variable, bool]:
    """The variable that PyTorch calls `name`, and whether it is laid out as a kernel."""
    *path, leaf = name.split(".")
    owner = reduce(getattr, path, layer)
    if hasattr(owner, leaf) and not isinstance(owner, nn.Embedding):
        return getattr(owner, leaf), False
    stock = {
        "weight": ("kernel", "gamma", "embeddings"),
        "bias": ("beta",),
        "running_mean": ("moving_mean",),
        "running_var": ("moving_variance",),
    }
    stock_name = next(name for name in stock[leaf] if hasattr(owner, name))
    return getattr(owner, stock_name), stock_name == "kernel"


def from_torch(array: np.ndarray, is_kernel: bool) -> np.ndarray:
    return np.moveaxis(array, (0, 1), (-1, -2)) if is_kernel else array


def to_torch(array, is_kernel: bool) -> np.ndarray:
    array = keras.ops.convert_to_numpy(array)
    return np.moveaxis(array, (-2, -1), (1, 0)) if is_kernel else array


def make(case: Case, **kwargs) -> keras.Layer:
    args = [value for k, value in enumerate(case.args) if k not in case.widths]
    options = dict(case.options)
    if case.name == "LayerNorm" and isinstance(case.args[0], tuple):
        options["axis"] = tuple(range(-len(case.args[0]), 0))
    return getattr(nn, case.name)(*args, **options, **kwargs)


def load(layer: keras.Layer, state: dict[str, np.ndarray]):
    for name, value in state.items():
        slot, is_kernel = variable(layer, name)
        slot.assign(from_torch(value, is_kernel))


def tensors(case: Case, dtype: str) -> list:
    return [
        keras.ops.convert_to_tensor(
            np.ascontiguousarray(to_last(array, given.layout)),
            dtype if given.differentiable else None,
        )
        for array, given in zip(case.arrays(), case.inputs, strict=True)
    ]


def apply(case: Case, layer: keras.Layer | None, inputs: list) -> list:
    split = len(inputs) - len(case.keywords)
    named = dict(zip(case.keywords, inputs[split:], strict=True))
    if layer is None:
        return [getattr(nn, case.name)(*inputs[:split], **named, **case.options)]
    return flatten(layer(*inputs[:split], **named, **case.call, training=case.train))


def differentiate(call, inputs: list, variables: list, buffers: list, cotangents: list) -> tuple:
    """Outputs of call(inputs), and the gradients of their products with the cotangents."""

    def total(outputs):
        return sum(keras.ops.sum(x * c) for x, c in zip(outputs, cotangents, strict=True))

    values = [v.value for v in variables]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        # grouped convolutions have no float64 gradient without XLA
        @tf.function(jit_compile=cotangents[0].dtype == tf.float64, autograph=False)
        def run(inputs):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = call(inputs)
                loss = total(outputs)
            return outputs, tape.gradient(loss, (inputs, values), unconnected_gradients="zero")

        return run(inputs)
    if BACKEND == "jax":
        import jax

        def loss(inputs, values):
            with keras.StatelessScope(list(zip(variables, values, strict=True))) as scope:
                outputs = call(inputs)
                return total(outputs), (outputs, [scope.get_current_value(v) for v in buffers])

        run = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
        (_, (outputs, updated)), grads = run(inputs, values)
        for buffer, value in zip(buffers, updated, strict=True):
            buffer.assign(value)
        return outputs, grads
    import torch

    outputs = call([x.requires_grad_() for x in inputs])
    grads = torch.autograd.grad(total(outputs), inputs + values, materialize_grads=True)
    return outputs, (grads[: len(inputs)], grads[len(inputs) :])


def check(what: str, actual, expected: np.ndarray, tolerance: float, least: float):
    assert actual.shape == expected.shape, what
    divisor = max(np.sqrt(np.mean(np.square(expected))), least)
    error = np.abs(actual - expected).max() / divisor
    assert error <= tolerance, f"{what} is off by {error:.1e}"


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("case", FUNCTIONS + LAYERS, ids=lambda case: case.id)
def test_equals_torch(case: Case, dtype: str):
    expected = reference(case)
    inputs = tensors(case, dtype)
    floats = [k for k, given in enumerate(case.inputs) if given.differentiable]
    layer = None
    if case.name[0].isupper():
        layer = make(case, dtype=dtype)
        apply(case, layer, inputs)
        load(layer, expected.state)
    variables = [variable(layer, name) for name in expected.param_grads]
    buffers = [variable(layer, name) for name in expected.buffers]
    cotangents = [
        keras.ops.convert_to_tensor(np.ascontiguousarray(to_last(x, case.output)), dtype)
        for x in expected.cotangents
    ]

    def call(given: list) -> list:
        return apply(
            case, layer, [dict(zip(floats, given)).get(k, x) for k, x in enumerate(inputs)]
        )

    outputs, (input_grads, param_grads) = differentiate(
        call,
        [inputs[k] for k in floats],
        [v for v, _ in variables],
        [v for v, _ in buffers],
        cotangents,
    )

    of_values, of_gradients, least = TOLERANCES[dtype]
    for k, (x, wanted) in enumerate(zip(outputs, expected.outputs, strict=True)):
        assert keras.backend.standardize_dtype(x.dtype) == dtype
        x = to_first(keras.ops.convert_to_numpy(x), case.output)
        check(f"output {k}", x, wanted, of_values, least)
    for k, grad in zip(floats, input_grads, strict=True):
        grad = to_first(keras.ops.convert_to_numpy(grad), case.inputs[k].layout)
        check(f"gradient of input {k}", grad, expected.input_grads[k], of_gradients, least)
    for (name, wanted), grad, (_, is_kernel) in zip(
        expected.param_grads.items(), param_grads, variables, strict=True
    ):
        grad = to_torch(grad, is_kernel)
        check(f"gradient of {name}", grad, wanted, of_gradients, least)
    for (name, wanted), (buffer, _) in zip(expected.buffers.items(), buffers, strict=True):
        check(name, to_torch(buffer.value, False), wanted, of_values, least)
