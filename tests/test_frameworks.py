"""What users of each framework do with a module, beyond calling it."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import torch
from flax import nnx

import multiattn.flax as mf
import multiattn.keras as mk
import multiattn.torch as mt
from multiattn import checks, info, port, state_dict
from multiattn.verify.cases import DEFAULT_FOLDER, read_cases

X = np.random.default_rng(0).normal(size=(2, 6, 5, 16)).astype("float32")


def test_linen_users_take_a_module_through_the_bridge() -> None:
    linen = nnx.bridge.to_linen(mf.CBAM, 16, reduction=4)
    variables = linen.init(jax.random.key(0), X)
    evaluated = linen.apply(
        variables, X, nnx_method=lambda module, x: (module.eval(), module(x))[1]
    )
    trained, updates = linen.apply(variables, X, mutable=["batch_stats"])
    assert evaluated.shape == trained.shape == X.shape
    moved = jax.tree.leaves(updates["batch_stats"])
    still = jax.tree.leaves(variables["batch_stats"])
    assert any(not np.array_equal(a, b) for a, b in zip(moved, still, strict=True))


def test_flax_vmap_over_data_and_scan_over_blocks() -> None:
    module = mf.CoordAttention(16, rngs=nnx.Rngs(0))
    module.eval()
    mapped = nnx.vmap(lambda module, x: module(x[None])[0], in_axes=(None, 0))(
        module, jnp.asarray(X)
    )
    assert np.allclose(mapped, module(jnp.asarray(X)), atol=1e-6)

    @nnx.split_rngs(splits=3)
    @nnx.vmap
    def stack(rngs: nnx.Rngs) -> mf.CoordAttention:
        return mf.CoordAttention(16, rngs=rngs)

    blocks = stack(nnx.Rngs(0))
    blocks.eval()
    scanned = nnx.scan(lambda x, block: block(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(
        jnp.asarray(X), blocks
    )
    graph, state = nnx.split(blocks)
    one_by_one = jnp.asarray(X)
    for i in range(3):
        one_by_one = nnx.merge(graph, jax.tree.map(lambda a, i=i: a[i], state))(one_by_one)
    assert np.allclose(scanned, one_by_one, atol=1e-6)


def test_flax_dtype_and_train_mode() -> None:
    module = mf.OmniDimensionalDynamicConv(16, 8, 3, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    before = np.array(module.attention.bn.running_mean[...])
    module.train()
    assert module(jnp.asarray(X)).dtype == jnp.bfloat16
    assert not np.array_equal(before, module.attention.bn.running_mean[...])
    assert module.weight.dtype == jnp.float32


def test_keras_fit_moves_weights_and_statistics() -> None:
    model = keras.Sequential(
        [
            keras.Input((None, None, 16)),
            mk.CBAM(reduction=4),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )
    before = state_dict(model)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X, np.array([0, 2]), verbose=0)
    after = state_dict(model)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {"0.spatial_gate.bn.running_mean", "0.channel_gate.fc1.weight"} <= changed


def test_keras_channels_first_is_a_clear_error() -> None:
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="CBAM: image_data_format must be 'channels_last'"):
            mk.CBAM()
    finally:
        keras.config.set_image_data_format("channels_last")


def test_tf_keras_is_keras_3() -> None:
    tf = pytest.importorskip("tensorflow")
    inputs = tf.keras.Input((None, None, 16))
    model = tf.keras.Model(inputs, mk.CoordAttention()(inputs))
    assert model(X).shape == X.shape


def test_torch_module_pickles_copies_and_scripts_its_state() -> None:
    import copy
    import pickle

    module = mt.CBAM(16, reduction=4).eval()
    x = torch.tensor(X).permute(0, 3, 1, 2)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(other(x), module(x))


@pytest.mark.parametrize("make", [mt.NonLocal, mt.PositionAttention])
def test_blocks_that_start_as_the_identity(make) -> None:
    x = torch.tensor(X).permute(0, 3, 1, 2)
    assert torch.equal(make(16).eval()(x), x)


def test_initial_values_are_the_same_in_kind() -> None:
    """Where a module has initial values of its own, all three trees have them."""
    torch_module = mt.SpatialTransformer(1, input_size=(20, 20))
    flax_module = mf.SpatialTransformer(1, input_size=(20, 20), rngs=nnx.Rngs(0))
    keras_module = mk.SpatialTransformer(input_size=(20, 20))
    keras_module(np.zeros((1, 20, 20, 1), "float32"))
    for module in (torch_module, flax_module, keras_module):
        state = state_dict(module)
        assert not state["fc2.weight"].any()
        assert state["fc2.bias"].tolist() == [1, 0, 0, 0, 1, 0]
    dynamic = [
        mt.OmniDimensionalDynamicConv(16, 64, 3),
        mf.OmniDimensionalDynamicConv(16, 64, 3, rngs=nnx.Rngs(0)),
        mk.OmniDimensionalDynamicConv(64, 3),
    ]
    dynamic[2](X)
    expected = np.sqrt(2 / (64 * 9))
    for module in dynamic:
        assert abs(state_dict(module)["weight"].std() / expected - 1) < 0.05


def test_temperature_is_set_in_all_three() -> None:
    modules = [
        mt.OmniDimensionalDynamicConv(16, 8, 3),
        mf.OmniDimensionalDynamicConv(16, 8, 3, rngs=nnx.Rngs(0)),
        mk.OmniDimensionalDynamicConv(8, 3),
    ]
    for module in modules:
        module.update_temperature(30.0)
        assert module.temperature == 30.0
        with pytest.raises(ValueError, match=r"temperature \(0\) must be positive"):
            module.update_temperature(0)


def messages(make) -> str:
    with pytest.raises(ValueError, match=r"^\w+: ") as caught:
        make()
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "width", "options", "message"),
    [
        (
            "CBAM",
            8,
            {"reduction": 16},
            "CBAMChannelGate: reduction (16) must not exceed channels (8)",
        ),
        (
            "CBAM",
            32,
            {"kernel_size": 4},
            "CBAMSpatialGate: kernel_size (4) must be odd and positive",
        ),
        ("ECA", 8, {"kernel_size": 2}, "ECA: kernel_size (2) must be odd and positive"),
        (
            "SqueezeExcitation",
            8,
            {"gate": "tanh"},
            "SqueezeExcitation: gate ('tanh') must be one of 'sigmoid', 'hard_sigmoid'",
        ),
        ("GAM", 30, {"groups": 4}, "GAM: channels (30) must be divisible by groups (4)"),
        ("NonLocal", 8, {"dimension": 4}, "NonLocal: dimension (4) must be one of 1, 2, 3"),
        (
            "SpatialTransformer",
            1,
            {"localization": "fc"},
            "SpatialTransformer: localization 'fc' needs input_size",
        ),
    ],
)
def test_the_same_mistake_reads_the_same_everywhere(name, width, options, message) -> None:
    option = "in_channels" if name == "SpatialTransformer" else "channels"

    def in_keras():
        mk.create(name, **options)(np.zeros((2, 6, 6, width), "float32"))

    assert messages(lambda: mt.create(name, **{option: width}, **options)) == message
    assert (
        messages(lambda: mf.create(name, **{option: width}, **options, rngs=nnx.Rngs(0))) == message
    )
    assert messages(in_keras) == message


def test_inputs_of_the_wrong_size_are_a_clear_error() -> None:
    sizes = [(2, 4, 4, 16), (2, 7, 8, 8), (2, 16, 16, 8)]
    arrays = [np.zeros(size, "float32") for size in sizes]
    expected = "ASFF: x1 has size (7, 8), expected (8, 8)"
    module = mt.ASFF((16, 8, 8), level=0, out_channels=4)
    assert (
        messages(lambda: module(*(torch.tensor(a).permute(0, 3, 1, 2) for a in arrays))) == expected
    )
    flax = mf.ASFF((16, 8, 8), level=0, out_channels=4, rngs=nnx.Rngs(0))
    assert messages(lambda: flax(*map(jnp.asarray, arrays))) == expected
    assert messages(lambda: mk.ASFF(level=0, out_channels=4)(*arrays)) == expected


def test_checks_name_module_option_and_value() -> None:
    class Thing:
        pass

    assert (
        messages(lambda: checks.positive(Thing(), size=-1)) == "Thing: size (-1) must be positive"
    )
    assert (
        messages(lambda: checks.positive(Thing(), widths=(8, 0)))
        == "Thing: widths ((8, 0)) must be positive"
    )
    assert messages(lambda: checks.nonempty(Thing(), pools=())) == "Thing: pools must not be empty"


def test_port_of_dropout_modules_has_no_random_state() -> None:
    source = mt.DualAttention(16, num_classes=3, reduction=2)
    target = mf.DualAttention(16, num_classes=3, reduction=2, rngs=nnx.Rngs(0))
    assert port(source, target).complete


MODULES = list({case.module: case for case in read_cases(DEFAULT_FOLDER)}.values())


@pytest.mark.parametrize("case", MODULES, ids=lambda case: case.module)
def test_keras_training_reaches_every_sublayer_without_a_call_context(case) -> None:
    """``stateless_call``, as JAX trains, moves the statistics that the plain call moves."""
    widths = info(case.cls).input_widths
    module = mk.create(case.cls, **{k: v for k, v in case.options.items() if k not in widths})
    xs = [
        np.moveaxis(x, 1, -1).astype("float32") if axes.startswith("NC") else x.astype("float32")
        for x, axes in zip(case.inputs, case.axes, strict=True)
    ]
    module(*xs)
    random = np.random.default_rng(0)
    for variable in module.trainable_variables:  # initially a norm's input may be zero
        variable.assign(random.normal(0.5, 0.5, variable.shape))
    if not any(isinstance(member, keras.Layer) for member in vars(module).values()):
        assert module.non_trainable_variables == []
        return
    frozen = [keras.ops.convert_to_numpy(v) for v in module.non_trainable_variables]
    _, moved = module.stateless_call(
        [v.value for v in module.trainable_variables],
        [v.value for v in module.non_trainable_variables],
        *map(keras.ops.convert_to_tensor, xs),
        training=True,
    )
    module(*xs, training=True)
    plain = [keras.ops.convert_to_numpy(v) for v in module.non_trainable_variables]
    for variable, before, one, other in zip(
        module.non_trainable_variables, frozen, moved, plain, strict=True
    ):
        assert np.allclose(keras.ops.convert_to_numpy(one), other, atol=1e-6)
        if "moving" in variable.name:
            assert not np.array_equal(before, other)
