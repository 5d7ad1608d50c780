"""The Flax ground floor against PyTorch (values, gradients, statistics, under jit), and in nnx."""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FUNCTIONS, LAYERS, Case, flatten, reference
from flax import nnx

from multiattn.flax import nn

# Of values and of gradients; arrays are measured by their rms, or by the floor where that is less.
TOLERANCES = {"float64": (1e-9, 1e-9, 1e-3), "float32": (1e-5, 1e-4, 0.1)}
FAST_COMPILATION = {"xla_backend_optimization_level": 0}


@pytest.fixture(autouse=True)
def float64_exists():
    with jax.enable_x64(True):
        yield


def to_last(array, layout: str):
    """An image's channels moved last."""
    return np.moveaxis(array, 1, -1) if layout == "image" else array


def to_first(array, layout: str):
    return np.moveaxis(array, -1, 1) if layout == "image" else np.asarray(array)


def variable(layer: nnx.Module, name: str) -> tuple[nnx.Variable, bool]:
    """The variable that PyTorch calls `name`, and whether it is laid out as a kernel."""
    *path, leaf = name.split(".")
    owner = reduce(getattr, path, layer)
    if leaf == "weight" and isinstance(owner, nnx.Conv | nnx.Linear):
        return owner.kernel, True
    stock = {nnx.LayerNorm: "scale", nnx.GroupNorm: "scale", nnx.Embed: "embedding"}
    weight = next((own for kind, own in stock.items() if isinstance(owner, kind)), "weight")
    return getattr(owner, weight if leaf == "weight" else leaf), False


def read(layer: nnx.Module, name: str) -> np.ndarray:
    slot, is_kernel = variable(layer, name)
    return np.moveaxis(slot[...], (-2, -1), (1, 0)) if is_kernel else np.asarray(slot[...])


def build(case: Case, state: dict[str, np.ndarray], **options) -> nnx.Module:
    layer = getattr(nn, case.name)(*case.args, **case.options, **options, rngs=nnx.Rngs(0))
    for name, value in state.items():
        slot, is_kernel = variable(layer, name)
        value = np.moveaxis(value, (0, 1), (-1, -2)) if is_kernel else value
        assert slot.shape == value.shape
        slot.set_value(jnp.asarray(value, slot.dtype))
    if case.train:
        layer.train()
    else:
        layer.eval()
    return layer


def check(what: str, actual, expected: np.ndarray, tolerance: float, least: float):
    assert actual.shape == expected.shape, what
    divisor = max(np.sqrt(np.mean(np.square(expected))), least)
    error = np.abs(actual - expected).max() / divisor
    assert error <= tolerance, f"{what} is off by {error:.1e}"


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("case", FUNCTIONS + LAYERS, ids=lambda case: case.id)
def test_equals_torch(case: Case, dtype: str):
    expected = reference(case)
    inputs = {
        k: jnp.asarray(to_last(array, given.layout), dtype if array.dtype == float else None)
        for k, (array, given) in enumerate(zip(case.arrays(), case.inputs, strict=True))
    }
    floats = {k: x for k, x in inputs.items() if case.inputs[k].differentiable}
    cotangents = [jnp.asarray(to_last(x, case.output), dtype) for x in expected.cotangents]
    is_layer = case.name[0].isupper()
    layer = build(case, expected.state, param_dtype=jnp.dtype(dtype)) if is_layer else nn.Identity()
    graph, params, rest = nnx.split(layer, nnx.Param, ...)

    def loss(params, floats):
        arrays = list((inputs | floats).values())
        split = len(arrays) - len(case.keywords)
        named = dict(zip(case.keywords, arrays[split:], strict=True))
        if is_layer:
            called = nnx.merge(graph, params, rest, copy=True)
            output = called(*arrays[:split], **named, **case.call)
            graph_after, _, rest_after = nnx.split(called, nnx.Param, ...)
            assert graph_after == graph, "a call changed the graph"
        else:
            output = getattr(nn, case.name)(*arrays[:split], **named, **case.options)
            rest_after = rest
        outputs = flatten(output)
        assert all(x.dtype == dtype for x in outputs)
        total = sum((x * c).sum() for x, c in zip(outputs, cotangents, strict=True))
        return total, (outputs, rest_after)

    differentiate = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    run = jax.jit(differentiate, compiler_options=FAST_COMPILATION)
    (_, (outputs, rest)), (param_grads, input_grads) = run(params, floats)

    of_values, of_gradients, least = TOLERANCES[dtype]
    for k, (x, wanted) in enumerate(zip(outputs, expected.outputs, strict=True)):
        check(f"output {k}", to_first(x, case.output), wanted, of_values, least)
    for k, grad in input_grads.items():
        grad = to_first(grad, case.inputs[k].layout)
        check(f"gradient of input {k}", grad, expected.input_grads[k], of_gradients, least)
    nnx.update(layer, param_grads, rest)
    for name, wanted in expected.param_grads.items():
        check(f"gradient of {name}", read(layer, name), wanted, of_gradients, least)
    for name, wanted in expected.buffers.items():
        check(name, read(layer, name), wanted, of_values, least)
