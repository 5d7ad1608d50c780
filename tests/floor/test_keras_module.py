"""The base class of the Keras modules, in everything that Keras does with a layer.

Runs on the backend that KERAS_BACKEND names.
"""

import copy
import pickle
import re
from typing import ClassVar

import h5py
import keras
import numpy as np
import pytest
from keras import ops

from multiattn.keras import nn
from multiattn.keras.nn.initializers import constant

BACKEND = keras.backend.backend()
registered = keras.saving.register_keras_serializable("tests")


@registered
class Gate(nn.Module):
    """A module with everything: layers, a weight of its own, statistics, an option, a check."""

    def __init__(self, *, hidden: int = 4, rate: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.hidden = hidden
        self.rate = rate

    def setup(self, shape):
        if shape[-1] < self.hidden:
            raise ValueError(f"Gate: hidden ({self.hidden}) must not exceed {shape[-1]}")
        self.conv1 = nn.Conv2d(self.hidden, 3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm()
        self.layers_after = nn.Sequential(nn.hardswish, nn.Linear(shape[-1]), nn.Dropout(self.rate))
        self.gamma = self.add_weight(name="gamma", shape=(1,), initializer=constant(0.5))

    def call(self, x, training=None):
        y = self.bn1(self.conv1(x), training=training)
        y = ops.mean(self.layers_after(y, training=training), (1, 2), keepdims=True)
        return x * (1 + self.gamma * ops.tanh(y))


@registered
class Stage(nn.Module):
    """A module of modules, one of them used twice."""

    def setup(self, shape):
        self.gates = nn.ModuleList(Gate(hidden=n) for n in (3, 2))
        self.shared = Gate()

    def call(self, x, training=None):
        for gate in self.gates:
            x = self.shared(gate(x, training=training), training=training)
        return x


@registered
class Fusion(nn.Module):
    """A module of two inputs, the second of half the size, and one more that may be left out."""

    input_strides: ClassVar[dict[str, int]] = {"high": 1, "low": 2}

    def setup(self, high_shape, low_shape, bias_shape=None):
        self.conv = nn.Conv2d(high_shape[-1], 1)

    def call(self, high, low, bias=None, training=None):
        if [2 * size for size in low.shape[1:3]] != list(high.shape[1:3]):
            raise ValueError("Fusion: low must have half the size of high")
        y = high + nn.interpolate(self.conv(low), scale_factor=2)
        return y if bias is None else y + bias


@registered
class Mixture(nn.Module):
    """A module of any number of inputs."""

    def setup(self, inputs_shape):
        if len(inputs_shape) < 2:
            raise ValueError("Mixture: there must be two inputs or more")
        self.convs = nn.ModuleList(nn.Conv2d(inputs_shape[0][-1], 1) for _ in inputs_shape)

    def call(self, *inputs, training=None):
        return sum(conv(x) for conv, x in zip(self.convs, inputs, strict=True))


@registered
class Mine(Gate):
    """How a user extends a module."""

    def __init__(self, extra: int, **kwargs):
        super().__init__(hidden=2, **kwargs)
        self.extra = extra

    def get_config(self):
        return {**super().get_config(), "extra": self.extra}


@registered
class Network(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stage = Stage()
        self.head = keras.layers.Dense(2)

    def call(self, x, training=None):
        return self.head(ops.mean(self.stage(x, training=training), (1, 2)))


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(1, 1, shape or (2, 6, 8, 4)).astype(np.float32)


def to_numpy(x) -> np.ndarray:
    return ops.convert_to_numpy(x)


def changed(layer: keras.Layer) -> keras.Layer:
    """The layer with weights other than the initial ones."""
    for k, v in enumerate(layer.weights):
        if "seed" not in v.path:
            v.assign(ops.cast(v.value, "float32") + 0.01 * (k + 1))
    return layer


def functional(layer: keras.Layer) -> keras.Model:
    x = keras.Input((None, None, 4))
    return keras.Model(x, layer(x))


def assert_same(one, other, x=None):
    x = image() if x is None else x
    np.testing.assert_allclose(to_numpy(one(x)), to_numpy(other(x)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [Gate, Stage, lambda: nn.Sequential(Gate(), nn.relu)])
def test_functional_model_of_unknown_size(make):
    model = functional(make())
    assert model.output.shape == (None, None, None, 4)
    for size in ((2, 6, 8, 4), (3, 7, 5, 4)):
        assert_same(model, model.layers[1], image(*size))
    assert model.predict(image(), verbose=0).shape == (2, 6, 8, 4)


def test_everything_is_built_once_and_with_the_module():
    stage = Stage()
    stage.build((None, None, None, 4))
    assert all(layer.built for layer in stage._flatten_layers())
    assert len(stage.weights) == 3 * 9
    shapes = [v.shape for v in stage.weights]
    stage(image())
    assert [v.shape for v in stage.weights] == shapes


@pytest.mark.parametrize(
    "model",
    [
        lambda: functional(Stage()),
        lambda: keras.Sequential([keras.Input((6, 8, 4)), Gate(hidden=2), nn.Conv2d(4, 1)]),
        lambda: functional(nn.Sequential(Gate(hidden=2), nn.relu, nn.Conv2d(4, 3, padding=1))),
        Network,
    ],
    ids=["functional", "sequential", "numbered", "subclassed"],
)
def test_saving(model, tmp_path):
    model = model()
    model(image())
    changed(model).save(tmp_path / "model.keras")
    assert_same(keras.saving.load_model(tmp_path / "model.keras"), model)
    model.save_weights(tmp_path / "model.weights.h5")
    other = keras.saving.load_model(tmp_path / "model.keras")
    for v in other.trainable_weights:
        v.assign(0 * v.value)
    other.load_weights(tmp_path / "model.weights.h5")
    assert_same(other, model)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_lone_module_is_copied(copied):
    gate = Gate(hidden=3)
    gate(image())
    assert_same(copied(changed(gate)), gate)


def test_weights_files_describe_themselves(tmp_path):
    model = Network()
    model(image())
    model.save_weights(tmp_path / "model.weights.h5")
    names = []
    with h5py.File(tmp_path / "model.weights.h5") as file:
        file.visititems(lambda name, x: names.append(name) if isinstance(x, h5py.Dataset) else None)
    members = {
        "": ["gamma"],
        "bn1/": ["beta", "gamma", "moving_mean", "moving_variance"],
        "conv1/": ["bias", "kernel"],
        "layers_after/1/": ["bias", "kernel"],
    }
    expected = {
        f"layers/stage/{gate}/{member}vars/{name}"
        for gate in ("gates/0", "gates/1", "shared")
        for member, own in members.items()
        for name in own
    }
    assert {name for name in names if "stage" in name and "seed" not in name} == expected


def test_weights_of_other_names_are_refused(tmp_path):
    with_bias, without = (functional(nn.Linear(3, bias=bias)) for bias in (True, False))
    with_bias.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(
        ValueError, match=r"the file has \['bias', 'kernel'\], the layer \['kernel'\]"
    ):
        without.load_weights(tmp_path / "a.weights.h5")


def test_clone_model():
    model = functional(Stage())
    clone = keras.models.clone_model(model)
    clone.set_weights(changed(model).get_weights())
    assert_same(clone, model)


def test_config_is_the_arguments():
    config = Gate(hidden=7, name="gate", trainable=False).get_config()
    assert config.pop("dtype")["config"] == {"name": "float32"}
    assert config == {"hidden": 7, "rate": 0.0, "name": "gate", "trainable": False}


def test_config_of_a_users_subclass(tmp_path):
    mine = Mine(extra=5, rate=0.5, dtype="mixed_bfloat16")
    restored = Mine.from_config(mine.get_config())
    assert (restored.extra, restored.hidden, restored.rate) == (5, 2, 0.5)
    assert restored.dtype_policy == mine.dtype_policy
    model = functional(mine)
    changed(model).save(tmp_path / "model.keras")
    assert_same(keras.saving.load_model(tmp_path / "model.keras"), model)


def test_training_reaches_the_statistics():
    stage = Stage()
    stage(image())
    before = [to_numpy(v) for v in stage.non_trainable_weights]
    stage(image(), training=False)
    assert all(map(np.array_equal, before, map(to_numpy, stage.non_trainable_weights)))
    stage(image(), training=True)
    assert not any(map(np.allclose, before, map(to_numpy, stage.non_trainable_weights)))


def test_stateless_call_moves_the_statistics_alike():
    stage = Stage()
    stage(image())
    state = [
        [v.value for v in vs] for vs in (stage.trainable_variables, stage.non_trainable_variables)
    ]
    _, updated = stage.stateless_call(*state, ops.convert_to_tensor(image()), training=True)
    updated = [to_numpy(x) for x in updated]
    stage(image(), training=True)
    for v, x in zip(stage.non_trainable_variables, updated, strict=True):
        np.testing.assert_allclose(to_numpy(v.value), x, rtol=1e-5)


@pytest.mark.parametrize("when", ["before", "after"])
def test_frozen_module_does_not_move(when: str):
    stage = Stage(trainable=when != "before")
    stage(image())
    stage.trainable = False
    before = [to_numpy(v) for v in stage.weights]
    output = to_numpy(stage(image(), training=True))
    assert not stage.trainable_weights
    assert all(map(np.array_equal, before, map(to_numpy, stage.weights)))
    assert np.array_equal(output, to_numpy(stage(image(), training=False)))


POLICIES = ["mixed_bfloat16", "mixed_float16", "bfloat16"]


@pytest.mark.parametrize("policy", POLICIES if BACKEND == "jax" else [*POLICIES, "float64"])
def test_policy_reaches_the_sublayers(policy: str):
    stage = Stage(dtype=policy)
    output = stage(image())
    policy = keras.DTypePolicy(policy)
    assert {layer.dtype_policy.name for layer in stage._flatten_layers()} == {policy.name}
    assert {v.dtype for v in stage.weights} == {policy.variable_dtype}
    assert keras.backend.standardize_dtype(output.dtype) == policy.compute_dtype
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    "use",
    [
        lambda: Gate(hidden=9)(image()),
        lambda: functional(Gate(hidden=9)),
        lambda: nn.Sequential(nn.Sequential(Gate(hidden=9)))(image()),
    ],
    ids=["eager", "functional", "nested"],
)
def test_errors_of_checks_arrive_bare(use):
    message = "Gate: hidden (9) must not exceed 4"
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        use()
    assert str(error.value) == message


@pytest.mark.parametrize("shape", [(2, 6, 8, 5), (2, 6, 4)], ids=["width", "rank"])
def test_other_width_or_rank_is_refused(shape: tuple[int, ...]):
    gate = Gate(name="gate")
    gate(image())
    with pytest.raises(ValueError, match="layer 'gate'"):
        gate(image(*shape))


def test_channels_first_is_refused(monkeypatch):
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    with pytest.raises(ValueError, match="Gate: image_data_format must be 'channels_last'"):
        Gate()


@pytest.mark.parametrize("jit", [False, True])
def test_fit(jit: bool):
    model = Network()
    model.compile("sgd", "mse", jit_compile=jit and BACKEND != "torch")
    model.fit(image(8, 6, 8, 4), np.ones((8, 2)), batch_size=4, verbose=0)
    assert abs(to_numpy(model.stage.shared.bn1.moving_mean)).min() > 1e-4


def test_time_distributed():
    x = keras.Input((3, 6, 8, 4))
    gate = Gate()
    model = keras.Model(x, keras.layers.TimeDistributed(gate)(x))
    assert model.output.shape == (None, 3, 6, 8, 4)
    videos = image(2, 3, 6, 8, 4)
    np.testing.assert_allclose(
        to_numpy(model(videos))[:, 1], to_numpy(gate(videos[:, 1])), atol=1e-5
    )


@pytest.mark.parametrize("biased", [False, True])
def test_inputs_of_different_unknown_sizes(biased: bool, tmp_path):
    shapes = [(None, None, 4), (None, None, 6), *([(1, 1, 4)] if biased else [])]
    inputs = [keras.Input(shape) for shape in shapes]
    model = keras.Model(inputs, Fusion()(*inputs))
    assert model.output.shape == (None, None, None, 4)
    arrays = [image(2, 6, 10, 4), image(2, 3, 5, 6), *([image(2, 1, 1, 4)] if biased else [])]
    changed(model).save(tmp_path / "model.keras")
    assert_same(keras.saving.load_model(tmp_path / "model.keras"), model, arrays)
    assert model.layers[-1](*arrays).shape == (2, 6, 10, 4)
    with pytest.raises(ValueError, match="Fusion: low must have half the size of high"):
        model.layers[-1](arrays[0], *arrays[:1], *arrays[2:])


def test_any_number_of_inputs(tmp_path):
    inputs = [keras.Input((None, None, width)) for width in (4, 6, 4)]
    model = keras.Model(inputs, Mixture()(*inputs))
    assert model.output.shape == (None, None, None, 4)
    arrays = [image(2, 6, 8, width) for width in (4, 6, 4)]
    changed(model).save(tmp_path / "model.keras")
    assert_same(keras.saving.load_model(tmp_path / "model.keras"), model, arrays)
    mixture = Mixture()
    with pytest.raises(ValueError, match="Mixture: there must be two inputs or more"):
        mixture(arrays[0])
    assert mixture(*arrays, training=True).shape == (2, 6, 8, 4)
    assert mixture.compute_output_shape(tuple(x.shape for x in arrays)) == (2, 6, 8, 4)
    with pytest.raises(ValueError, match="expects 3 input"):
        mixture(*arrays[:2])


def test_module_list_and_sequential_are_lists():
    members = [nn.Linear(2), nn.Linear(3)]
    for numbered in (nn.ModuleList(members), nn.Sequential(*members)):
        assert list(numbered) == members
        assert len(numbered) == 2
        assert numbered[-1] is members[1]
        numbered.append(nn.Identity())
        assert len(numbered) == 3


def test_compiled():
    gate = Gate()
    gate(image())
    if BACKEND == "tensorflow":
        import tensorflow as tf

        call = tf.function(gate, jit_compile=True)
    elif BACKEND == "jax":
        import jax

        call = jax.jit(lambda x: gate(x))
    else:
        import torch

        call = torch.compile(gate, fullgraph=True, backend="eager")
    x = ops.convert_to_tensor(image())
    np.testing.assert_allclose(to_numpy(call(x)), to_numpy(gate(x)), atol=1e-5)
