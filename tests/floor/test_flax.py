"""The Flax ground floor against PyTorch (values, gradients, statistics, under jit), and in nnx."""

import re
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FUNCTIONS, LAYERS, Case, flatten, reference
from flax import nnx

from multiattn.flax import nn
from multiattn.flax.nn import initializers

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
    layer.set_attributes(use_running_average=not case.train, raise_if_not_found=False)
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


ONE_OF_EACH = list({case.name: case for case in LAYERS}.values())


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=lambda case: case.name)
def test_dtype_is_that_of_the_answer(case: Case):
    layer = build(case, {}, dtype=jnp.bfloat16)
    inputs = [
        jnp.asarray(to_last(x, i.layout)) for x, i in zip(case.arrays(), case.inputs, strict=True)
    ]
    outputs = nnx.jit(lambda layer, *inputs: layer(*inputs))(layer, *inputs)
    assert outputs.dtype == jnp.bfloat16
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(nnx.state(layer, nnx.Param)))


@pytest.mark.parametrize(("param", "statistics"), [("bfloat16", "float32"), ("float64", "float64")])
def test_statistics_have_the_parameters_dtype_but_at_least_float32(param: str, statistics: str):
    layer = nn.BatchNorm(3, param_dtype=jnp.dtype(param), rngs=nnx.Rngs(0))
    layer(jnp.ones((2, 4, 3), jnp.bfloat16))
    assert layer.weight.dtype == param
    assert layer.running_mean.dtype == layer.running_var.dtype == statistics


def test_modes_are_set_as_in_nnx():
    network = nn.Sequential(nn.BatchNorm(3, rngs=nnx.Rngs(0)), nn.Dropout(0.5, rngs=nnx.Rngs(0)))
    x = jnp.ones((4, 3))
    for quiet in (nnx.view(network, deterministic=True, use_running_average=True), network):
        quiet.eval()
        assert jnp.allclose(quiet(x), x, rtol=1e-4)
    network.train()
    assert jnp.allclose(network(x), 0)


def test_members_are_numbered():
    network = nn.Sequential(
        nn.Linear(3, 4, rngs=nnx.Rngs(0)),
        nn.relu,
        nn.ModuleList([nn.Identity(), nn.Linear(4, 4, rngs=nnx.Rngs(0))]),
    )
    paths = {".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(network))}
    assert paths == {"0.kernel", "0.bias", "2.1.kernel", "2.1.bias"}


def test_sequential_trains_under_jit():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, rngs=nnx.Rngs(0)), nn.BatchNorm(4, rngs=nnx.Rngs(0)), nn.relu
    )
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, 3))
    gradients = nnx.jit(nnx.grad(lambda network, x: network(x).sum()))(network, x)
    assert jax.tree.structure(gradients) == jax.tree.structure(nnx.state(network, nnx.Param))
    assert not jnp.allclose(network[1].running_mean[...], 0)


@pytest.mark.parametrize(
    ("layer", "dropped_together"),
    [(nn.Dropout, ()), (nn.Dropout2d, (1, 2)), (nn.DropPath, (1, 2, 3))],
    ids=["Dropout", "Dropout2d", "DropPath"],
)
def test_dropout(layer, dropped_together):
    x = jnp.ones((100, 4, 5, 20), jnp.bfloat16)
    dropout = layer(0.25, rngs=nnx.Rngs(0))
    y = dropout(x)
    assert y.dtype == x.dtype
    assert set(np.unique(y.astype(float))) == {0.0, float(jnp.bfloat16(4 / 3))}
    assert jnp.all(y.max(dropped_together) == y.min(dropped_together))
    assert abs(float((y == 0).mean()) - 0.25) < 0.15
    assert not jnp.array_equal(y, dropout(x))
    dropout.eval()
    assert jnp.array_equal(dropout(x), x)


def test_dropout_that_drops_nothing_has_no_state():
    assert not jax.tree.leaves(nnx.state(nn.Dropout(0.0, rngs=nnx.Rngs(0))))


def test_attention_drops_weights_in_training_only():
    layer = nn.MultiheadAttention(8, 2, dropout=0.5, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, 5, 8))
    assert not jnp.allclose(layer(x), layer(x))
    layer.eval()
    assert jnp.array_equal(layer(x), layer(x))


@pytest.mark.parametrize(("length", "width"), [(1, 8), (1, 1), (3, 1)])
def test_attention_of_single_things_compiles_in_half_precision(length: int, width: int):
    query = key = jnp.ones((1, length, 1, width), jnp.bfloat16)
    context = jax.jit(nn.scaled_dot_product_attention)(query, key[:, :1], key[:, :1])
    assert context.dtype == jnp.bfloat16
    np.testing.assert_array_equal(context.astype(float), 1.0)


def test_lstm_drops_between_its_layers_in_training_only():
    layer = nn.LSTM(4, 3, num_layers=2, dropout=0.5, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, 5, 4))
    assert not jnp.allclose(layer(x), layer(x))
    layer.eval()
    assert jnp.array_equal(layer(x), layer(x))


def test_float32_attention_is_the_fused_one(monkeypatch):
    calls = []
    fused = jax.nn.dot_product_attention
    monkeypatch.setattr(
        jax.nn, "dot_product_attention", lambda *a, **k: calls.append(1) or fused(*a, **k)
    )
    for dtype in ("float32", "float64"):
        nn.scaled_dot_product_attention(*[jnp.ones((1, 2, 1, 4), dtype)] * 3)
    assert calls == [1]


# What torch.nn draws: the bounds of its uniform weights, or the deviation of its normal ones.
BOUNDS = {
    "Conv2d weight": (lambda rngs: nn.Conv2d(16, 32, 3, rngs=rngs).kernel, 1 / 12),
    "Conv2d weight, groups": (lambda rngs: nn.Conv2d(16, 32, 3, groups=4, rngs=rngs).kernel, 1 / 6),
    "Conv2d bias": (lambda rngs: nn.Conv2d(4, 900, 3, rngs=rngs).bias, 1 / 6),
    "ConvTranspose2d weight": (lambda rngs: nn.ConvTranspose2d(16, 4, 3, rngs=rngs).weight, 1 / 6),
    "Linear weight": (lambda rngs: nn.Linear(64, 32, rngs=rngs).kernel, 1 / 8),
    "Linear bias": (lambda rngs: nn.Linear(4, 900, rngs=rngs).bias, 1 / 2),
    "LSTM": (lambda rngs: nn.LSTM(8, 25, rngs=rngs).weight_ih_l0, 1 / 5),
    "MultiheadAttention": (
        lambda rngs: nn.MultiheadAttention(32, 4, rngs=rngs).in_proj_weight,
        np.sqrt(6 / (96 + 32)),
    ),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_layers_begin_as_in_torch(name: str):
    make, bound = BOUNDS[name]
    values = make(nnx.Rngs(0))[...]
    assert 0.95 * bound < jnp.abs(values).max() <= bound
    assert np.isclose(values.std(), bound / np.sqrt(3), rtol=0.1)


DEVIATIONS = {
    "normal": (initializers.normal(0.3), 0.3),
    "trunc_normal": (initializers.trunc_normal(0.02), 0.02),
    "kaiming_normal": (initializers.kaiming_normal("fan_out"), np.sqrt(2 / (32 * 9))),
    "kaiming_uniform": (initializers.kaiming_uniform(), np.sqrt(2 / (16 * 9))),
    "xavier_normal": (initializers.xavier_normal(), np.sqrt(2 / (48 * 9))),
    "xavier_uniform": (initializers.xavier_uniform(), np.sqrt(2 / (48 * 9))),
    "uniform": (initializers.uniform(0.3), 0.3 / np.sqrt(3)),
}


@pytest.mark.parametrize("name", DEVIATIONS)
def test_initializer(name: str):
    initialize, deviation = DEVIATIONS[name]
    key, shape = jax.random.key(0), (32, 16, 3, 3)
    values = initialize(key, shape, jnp.float32)
    assert values.shape == shape
    assert values.dtype == jnp.float32
    assert np.isclose(values.std(), deviation, rtol=0.05)
    assert abs(values.mean()) < 0.1 * deviation
    traced = jax.jit(lambda key: initialize(key, shape, jnp.float32))(key)
    assert jnp.allclose(values, traced, rtol=1e-5)


def test_trunc_normal_is_cut_at_2():
    values = initializers.trunc_normal(1.5)(jax.random.key(0), (10_000,))
    assert 1.9 < jnp.abs(values).max() <= 2


def test_skipped_gives_zeros():
    with initializers.skipped():
        layers = [build(case, {}) for case in ONE_OF_EACH]
    assert not any(jnp.any(x) for x in jax.tree.leaves(nnx.state(layers, nnx.Param)))
    assert jnp.any(nn.Linear(2, 3, rngs=nnx.Rngs(0)).kernel[...])


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=lambda case: case.name)
def test_layers_are_made_abstractly_and_in_stacks(case: Case):
    made = nnx.state(build(case, {}), nnx.Param)
    abstract = nnx.state(nnx.eval_shape(lambda: build(case, {})), nnx.Param)
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, abstract)

    @nnx.split_rngs(splits=3)
    @nnx.vmap
    def stack(rngs):
        return getattr(nn, case.name)(*case.args, **case.options, rngs=rngs)

    stacked = nnx.state(stack(nnx.Rngs(0)), nnx.Param)
    assert all(x.shape[0] == 3 for x in jax.tree.leaves(stacked))


def test_promote():
    x, parameter = jnp.ones(2, jnp.bfloat16), nnx.Param(jnp.ones(2, jnp.float32))
    assert [x.dtype for x in nn.promote(None, x, parameter)] == [jnp.float32] * 2
    assert nn.promote(jnp.float16, x).dtype == jnp.float16
    assert nn.promote(jnp.bfloat16, x, None)[1] is None


def test_pad_cuts_where_negative():
    assert jnp.array_equal(
        nn.pad(jnp.arange(4.0)[None, :, None], ((-1, 1),))[0, :, 0], [1, 2, 3, 0]
    )


X, GRID = np.ones((2, 6, 6, 4), np.float32), np.zeros((2, 3, 3, 2), np.float32)
MISTAKES = [
    (
        "Conv2d: in_channels (6) must be divisible by groups (4)",
        nn.Conv2d,
        (6, 8, 3),
        {"groups": 4},
    ),
    (
        "Conv2d: out_channels (6) must be divisible by groups (4)",
        nn.Conv2d,
        (8, 6, 3),
        {"groups": 4},
    ),
    (
        "Conv2d: padding_mode ('edge') must be one of",
        nn.Conv2d,
        (6, 8, 3),
        {"padding_mode": "edge"},
    ),
    ("ConvTranspose1d: in_channels (6) must be", nn.ConvTranspose1d, (6, 8, 3), {"groups": 4}),
    ("GroupNorm: num_channels (6) must be divisible by num_groups (4)", nn.GroupNorm, (4, 6), {}),
    ("MultiheadAttention: embed_dim (6) must be", nn.MultiheadAttention, (6, 4), {}),
    ("DropPath: rate (2) must be in [0, 1]", nn.DropPath, (2,), {}),
    ("gelu: approximate ('erf') must be one of", nn.gelu, (X, "erf"), {}),
    ("max_pool: padding (2) must be at most half", nn.max_pool, (X, 3), {"padding": 2}),
    ("interpolate: mode ('cubic') must be one of", nn.interpolate, (X, 3), {"mode": "cubic"}),
    ("interpolate: give size (None) or scale_factor (None)", nn.interpolate, (X,), {}),
    ("grid_sample: mode ('linear') must be", nn.grid_sample, (X, GRID), {"mode": "linear"}),
    ("grid_sample: padding_mode ('a') must", nn.grid_sample, (X, GRID), {"padding_mode": "a"}),
    ("pad: mode ('edge') must be one of", nn.pad, (X, [(1, 1)] * 2), {"mode": "edge"}),
    ("kaiming_normal: mode ('fan') must be one of", initializers.kaiming_normal, ("fan",), {}),
]


@pytest.mark.parametrize(
    ("message", "make", "args", "options"), MISTAKES, ids=[mistake[0] for mistake in MISTAKES]
)
def test_mistakes_are_named(message: str, make, args: tuple, options: dict):
    rngs = {"rngs": nnx.Rngs(0)} if isinstance(make, type) else {}
    with pytest.raises(ValueError, match=re.escape(message)):
        make(*args, **options, **rngs)


def test_training_statistics_need_more_than_one_value():
    with pytest.raises(ValueError, match="BatchNorm: training needs more than one value"):
        nn.BatchNorm(4, rngs=nnx.Rngs(0))(X[:1, 0, 0])


@pytest.mark.parametrize("wrap", [lambda function: function, jax.jit])
def test_a_custom_gradient_is_ours(wrap):
    def call(x, y):
        return nn.custom_gradient(jnp.multiply, lambda up, x, y: (up**2 * y, None), x, y)

    x, y, up = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(wrap(call)(x, y), x * y)
    gradients = wrap(jax.grad(lambda x, y: (call(x, y) * up).sum(), (0, 1)))(x, y)
    np.testing.assert_allclose(gradients[0], up**2 * y, rtol=1e-6)
    assert not gradients[1].any()
