"""The Keras ground floor against PyTorch: values, gradients, statistics; and in Keras's own ways.

Runs on the backend that KERAS_BACKEND names.
"""

import json
import re
from functools import reduce

import keras
import numpy as np
import pytest
from cases import FUNCTIONS, LAYERS, Case, flatten, reference
from keras.src.backend.common import dtypes

from multiattn.keras import nn
from multiattn.keras.nn import initializers

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


def to_numpy(x) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


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
    array = to_numpy(array)
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
        return flatten(getattr(nn, case.name)(*inputs[:split], **named, **case.options))
    return flatten(layer(*inputs[:split], **named, **case.call, training=case.train))


def differentiate(call, inputs: list, variables: list, buffers: list, cotangents: list) -> tuple:
    """Outputs of call(inputs), and the gradients of their products with the cotangents."""

    def total(outputs):
        return sum(keras.ops.sum(x * c) for x, c in zip(outputs, cotangents, strict=True))

    values = [v.value for v in variables]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        def run(inputs):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = call(inputs)
                loss = total(outputs)
            return outputs, tape.gradient(loss, (inputs, values), unconnected_gradients="zero")

        try:
            return run(inputs)
        except (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError):
            # grouped convolutions have no float64 gradient without XLA
            return tf.function(run, jit_compile=True, autograph=False)(inputs)
    if BACKEND == "jax":
        import jax

        def loss(inputs, values):
            state = [*zip(variables, values, strict=True), *((b, b.value) for b in buffers)]
            with keras.StatelessScope(state) as scope:
                outputs = call(inputs)
                return total(outputs), (outputs, [scope.get_current_value(b) for b in buffers])

        run = jax.jit(
            jax.value_and_grad(loss, (0, 1), has_aux=True),
            compiler_options={"xla_backend_optimization_level": 0},
        )
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


def is_layer(case: Case) -> bool:
    return case.name[0].isupper()


def symbols(case: Case, unknown=lambda given, axis: False, dtype: str = "float32") -> list:
    """Keras's stand-ins for the case's inputs."""
    return [
        keras.KerasTensor(
            [None if unknown(given, axis) else size for axis, size in enumerate(x.shape)],
            dtype if given.differentiable else str(x.dtype),
        )
        for given, array in zip(case.inputs, case.arrays(), strict=True)
        for x in [to_last(array, given.layout)]
    ]


def built(case: Case, **kwargs) -> keras.Layer:
    layer = make(case, **kwargs)
    apply(case, layer, symbols(case))
    return layer


# Elsewhere Keras itself computes some operators in float32.
DTYPES = ["float64", "float32"] if BACKEND == "tensorflow" else ["float32"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", FUNCTIONS + LAYERS, ids=lambda case: case.id)
def test_equals_torch(case: Case, dtype: str):
    expected = reference(case)
    layer = built(case, dtype=dtype) if is_layer(case) else None
    load(layer, expected.state)
    inputs = tensors(case, dtype)
    floats = [k for k, given in enumerate(case.inputs) if given.differentiable]
    variables = [variable(layer, name) for name in expected.param_grads]
    buffers = [variable(layer, name)[0] for name in expected.buffers]
    cotangents = [
        keras.ops.convert_to_tensor(np.ascontiguousarray(to_last(x, case.output)), dtype)
        for x in expected.cotangents
    ]

    def call(given: list) -> list:
        replaced = dict(zip(floats, given, strict=True))
        return apply(case, layer, [replaced.get(k, x) for k, x in enumerate(inputs)])

    outputs, (input_grads, param_grads) = differentiate(
        call, [inputs[k] for k in floats], [v for v, _ in variables], buffers, cotangents
    )

    of_values, of_gradients, least = TOLERANCES[dtype]
    for k, (x, wanted) in enumerate(zip(outputs, expected.outputs, strict=True)):
        assert keras.backend.standardize_dtype(x.dtype) == dtype
        check(f"output {k}", to_first(to_numpy(x), case.output), wanted, of_values, least)
    for k, grad in zip(floats, input_grads, strict=True):
        grad = to_first(to_numpy(grad), case.inputs[k].layout)
        check(f"gradient of input {k}", grad, expected.input_grads[k], of_gradients, least)
    pairs = zip(expected.param_grads.items(), param_grads, variables, strict=True)
    for (name, wanted), grad, (_, is_kernel) in pairs:
        check(f"gradient of {name}", to_torch(grad, is_kernel), wanted, of_gradients, least)
    for (name, wanted), buffer in zip(expected.buffers.items(), buffers, strict=True):
        check(name, to_numpy(buffer.value), wanted, of_values, least)


class Applied(nn.Module):
    """The case as a module that takes its inputs as a list."""

    def __init__(self, case: Case, **kwargs):
        super().__init__(**kwargs)
        self.case = case
        self.layer = make(case) if is_layer(case) else None

    def call(self, inputs, training=None):
        return apply(self.case, self.layer, list(inputs))


# not those whose sizes depend on others or need a divisor
FREE = {
    (
        case.name,
        *(
            case.options.get(option)
            for option in ("mode", "padding_mode", "align_corners", "groups")
        ),
    ): case
    for case in FUNCTIONS + LAYERS
    if case.name not in ("fold", "pixel_unshuffle") and not case.keywords
}.values()


@pytest.mark.parametrize("case", list(FREE), ids=lambda case: case.id)
def test_unknown_sizes(case: Case):
    def unknown(given, axis: int) -> bool:
        rank = len(given.shape)
        if given.layout == "image":
            return axis < max(rank - 1, 1)
        if case.name.startswith("conv"):
            return False
        within = case.name not in ("affine_grid", "batch_conv2d")
        return axis == 0 or (axis == 1 < rank - 1 and within)

    module = Applied(case)
    symbolic = symbols(case, unknown)
    specs = module([keras.Input(batch_shape=x.shape, dtype=x.dtype) for x in symbolic])
    inputs = tensors(case, "float32")
    expected = module(inputs)
    for spec, x in zip(specs, expected, strict=True):
        assert None in spec.shape
        assert len(spec.shape) == len(x.shape)
        assert all(size in (None, known) for size, known in zip(spec.shape, x.shape, strict=True))
    if BACKEND == "tensorflow":
        import tensorflow as tf

        @tf.function(input_signature=[tf.TensorSpec(x.shape, x.dtype) for x in symbolic])
        def call(*inputs):
            return module(list(inputs))

        for x, wanted in zip(call(*inputs), expected, strict=True):
            check("output", to_numpy(x), to_numpy(wanted), 1e-5, 0.1)


ONE_OF_EACH = list({case.name: case for case in LAYERS}.values())
POLICIES = {
    "mixed_bfloat16": ("bfloat16", "float32"),
    "mixed_float16": ("float16", "float32"),
    "float64": ("float64", "float64"),
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("case", ONE_OF_EACH, ids=lambda case: case.name)
def test_policy(case: Case, policy: str):
    computed, held = POLICIES[policy]
    layer = built(case, dtype=policy)
    output, *_ = apply(case, layer, tensors(case, "float32"))
    assert keras.backend.standardize_dtype(output.dtype) == computed
    assert {v.dtype for v in layer.weights if v.dtype != "int64"} <= {held, "uint32"}


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.id)
def test_config(case: Case):
    layer = built(case)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    for restored in (
        keras.saving.deserialize_keras_object(config),
        type(layer).from_config(layer.get_config()),
    ):
        apply(case, restored, symbols(case))
        again = json.loads(json.dumps(keras.saving.serialize_keras_object(restored)))
        assert again["config"].items() >= config["config"].items()
        assert [v.shape for v in restored.weights] == [v.shape for v in layer.weights]


def test_fold_of_unknown_size():
    class Overlapped(nn.Module):
        def call(self, x):
            places = {"dilation": 2, "padding": 1, "stride": 2}
            return nn.fold(nn.unfold(x, 3, **places), keras.ops.shape(x)[1:3], 3, **places)

    x = keras.Input((None, None, 2))
    model = keras.Model(x, Overlapped()(x))
    assert model.output.shape == (None, None, None, 2)
    assert model.predict(np.ones((1, 8, 7, 2)), verbose=0).shape == (1, 8, 7, 2)


def test_pad_cuts_where_negative():
    x = keras.ops.reshape(keras.ops.arange(4.0), (1, 4, 1))
    assert to_numpy(nn.pad(x, ((-1, 1),))).ravel().tolist() == [1, 2, 3, 0]


def test_padding_may_differ_at_the_ends():
    assert nn.Conv1d(2, 3, padding=((1, 2),), padding_mode="reflect")(X[0]).shape == (6, 7, 2)


@pytest.mark.parametrize(
    ("layer", "together"),
    [(nn.Dropout, ()), (nn.Dropout2d, (1, 2)), (nn.DropPath, (1, 2, 3))],
    ids=["Dropout", "Dropout2d", "DropPath"],
)
def test_dropout(layer, together: tuple[int, ...]):
    x = np.ones((100, 4, 5, 20), np.float32)
    dropout = layer(0.25)
    y = to_numpy(dropout(x, training=True))
    assert set(np.unique(y)) == {0, np.float32(4 / 3)}
    assert np.all(y.max(together) == y.min(together))
    assert abs((y == 0).mean() - 0.25) < 0.15
    assert not np.array_equal(y, dropout(x, training=True))
    assert np.array_equal(dropout(x, training=False), x)


@pytest.mark.parametrize(
    "layer",
    [
        nn.MultiheadAttention(2, dropout=0.5),
        nn.LSTM(3, num_layers=2, dropout=0.5),
        nn.Sequential(nn.Linear(3), nn.Dropout(0.5)),
    ],
    ids=["MultiheadAttention", "LSTM", "Sequential"],
)
def test_layers_drop_in_training_only(layer):
    x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
    assert not np.allclose(*(to_numpy(layer(x, training=True)) for _ in range(2)))
    assert np.array_equal(*(to_numpy(layer(x, training=False)) for _ in range(2)))


# What torch.nn draws: the bounds of its uniform weights.
BOUNDS = {
    "Conv2d weight": (nn.Conv2d(32, 3), 16, "kernel", 1 / 12),
    "Conv2d weight, groups": (nn.Conv2d(32, 3, groups=4), 16, "kernel", 1 / 6),
    "Conv2d bias": (nn.Conv2d(900, 3), 4, "bias", 1 / 6),
    "ConvTranspose2d weight": (nn.ConvTranspose2d(4, 3), 16, "weight", 1 / 6),
    "Linear weight": (nn.Linear(32), 64, "kernel", 1 / 8),
    "Linear bias": (nn.Linear(900), 4, "bias", 1 / 2),
    "LSTM": (nn.LSTM(25), 8, "weight_ih_l0", 1 / 5),
    "MultiheadAttention": (nn.MultiheadAttention(4), 32, "in_proj_weight", np.sqrt(6 / 128)),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_layers_begin_as_in_torch(name: str):
    layer, width, weight, bound = BOUNDS[name]
    layer.build((2, 6, 6, width) if "Conv" in name else (2, 6, width))
    values = to_numpy(getattr(layer, weight))
    assert 0.95 * bound < np.abs(values).max() <= bound
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


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("name", DEVIATIONS)
def test_initializer(name: str, dtype: str):
    initializer, deviation = DEVIATIONS[name]
    values = initializer((32, 16, 3, 3), dtype)
    assert keras.backend.standardize_dtype(values.dtype) == dtype
    values = to_numpy(keras.ops.cast(values, "float32"))
    assert values.shape == (32, 16, 3, 3)
    assert np.isclose(values.std(), deviation, rtol=0.05)
    assert abs(values.mean()) < 0.1 * deviation


def test_initializer_of_a_kernel_means_torch_layout():
    layer = nn.Conv2d(32, 3, kernel_initializer=initializers.kaiming_normal("fan_out"))
    layer = nn.Conv2d.from_config(layer.get_config())
    layer.build((None, None, None, 16))
    assert np.isclose(to_numpy(layer.kernel).std(), np.sqrt(2 / (32 * 9)), rtol=0.05)


def test_trunc_normal_is_cut_at_2():
    assert 1.9 < np.abs(to_numpy(initializers.trunc_normal(1.5)((10_000,)))).max() <= 2


def test_the_seed_governs_initial_values():
    def drawn() -> list:
        keras.utils.set_random_seed(1)
        return [to_numpy(initializers.normal()((3,))) for _ in range(2)]

    first, second = drawn()
    assert not np.array_equal(first, second)
    assert np.array_equal(drawn(), [first, second])


def test_skipped_gives_zeros():
    with initializers.skipped():
        layers = [built(case) for case in ONE_OF_EACH]
    assert not any(to_numpy(v).any() for layer in layers for v in layer.trainable_weights)
    assert to_numpy(built(ONE_OF_EACH[0]).kernel).any()


X, GRID = np.ones((2, 6, 6, 6), np.float32), np.zeros((2, 3, 3, 2), np.float32)
MISTAKES = [
    ("Conv2d: in_channels (6) must be divisible by groups (4)", nn.Conv2d, (8, 3), {"groups": 4}),
    ("Conv2d: out_channels (6) must be divisible by groups (4)", nn.Conv2d, (6, 3), {"groups": 4}),
    ("Conv2d: padding_mode ('edge') must", nn.Conv2d, (6, 3), {"padding_mode": "edge"}),
    ("ConvTranspose2d: in_channels (6) must", nn.ConvTranspose2d, (8, 3), {"groups": 4}),
    ("GroupNorm: num_channels (6) must be divisible by num_groups (4)", nn.GroupNorm, (4,), {}),
    ("MultiheadAttention: embed_dim (6) must be", nn.MultiheadAttention, (4,), {}),
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
    def use():
        layer = make(*args, **options)
        layer(X[0] if isinstance(layer, nn.MultiheadAttention) else X)

    with pytest.raises(ValueError, match=re.escape(message)):
        use()


def test_training_statistics_need_more_than_one_value():
    with pytest.raises(ValueError, match="BatchNorm: training needs more than one value"):
        nn.BatchNorm()(X[:1, 0, 0], training=True)


def test_a_custom_gradient_is_ours():
    def call(inputs: list) -> list:
        return [nn.custom_gradient(lambda x, y: x * y, lambda up, x, y: (up**2 * y, None), *inputs)]

    x, y, up = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    inputs, cotangents = ([keras.ops.convert_to_tensor(z) for z in zs] for zs in ((x, y), (up,)))
    outputs, (gradients, _) = differentiate(call, inputs, [], [], cotangents)
    np.testing.assert_allclose(to_numpy(outputs[0]), x * y)
    np.testing.assert_allclose(to_numpy(gradients[0]), up**2 * y, rtol=1e-6)
    assert not to_numpy(gradients[1]).any()
