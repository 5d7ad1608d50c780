"""A network of three blocks, written in each framework as its users write, ports bit for bit."""

import jax.numpy as jnp
import keras
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

import multiattn
import multiattn.flax
import multiattn.keras
import multiattn.torch
from multiattn import load_weights, port, save_weights, state_dict


class TorchBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, attention: nn.Module):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.attention = attention

    def forward(self, x):
        return self.attention(torch.relu(self.bn(self.conv(x))))


class TorchNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.block1 = TorchBlock(3, 16, multiattn.torch.CoordAttention(16))
        self.block2 = TorchBlock(16, 24, multiattn.torch.CBAM(24, reduction=4))
        self.block3 = TorchBlock(24, 32, multiattn.torch.NonLocal(32))
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(x)))
        return self.head(x.mean((2, 3)))


class FlaxBlock(nnx.Module):
    def __init__(self, in_channels: int, out_channels: int, attention: nnx.Module, *, rngs):
        self.conv = nnx.Conv(in_channels, out_channels, (3, 3), use_bias=False, rngs=rngs)
        self.bn = nnx.BatchNorm(out_channels, rngs=rngs)
        self.attention = attention

    def __call__(self, x):
        return self.attention(nnx.relu(self.bn(self.conv(x))))


class FlaxNet(nnx.Module):
    def __init__(self, *, rngs):
        self.block1 = FlaxBlock(3, 16, multiattn.flax.CoordAttention(16, rngs=rngs), rngs=rngs)
        self.block2 = FlaxBlock(16, 24, multiattn.flax.CBAM(24, reduction=4, rngs=rngs), rngs=rngs)
        self.block3 = FlaxBlock(24, 32, multiattn.flax.NonLocal(32, rngs=rngs), rngs=rngs)
        self.head = nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, x):
        x = self.block3(self.block2(self.block1(x)))
        return self.head(x.mean((1, 2)))


def keras_net() -> keras.Model:
    """A functional model: its members go by the layers' names."""

    def block(x, channels: int, name: str, attention: keras.layers.Layer):
        conv = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}_conv")
        norm = keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{name}_bn")
        return attention(keras.ops.relu(norm(conv(x))))

    inputs = keras.Input((None, None, 3))
    x = block(inputs, 16, "block1", multiattn.keras.CoordAttention(name="block1_attention"))
    x = block(x, 24, "block2", multiattn.keras.CBAM(reduction=4, name="block2_attention"))
    x = block(x, 32, "block3", multiattn.keras.NonLocal(name="block3_attention"))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(10, name="head")(x))


# What is block1.conv in the other two is block1_conv in the functional model.
TO_KERAS = {r"^(block\d)\.": r"\1_"}
FROM_KERAS = {r"^(block\d)_": r"\1."}


@pytest.fixture(scope="module")
def trained() -> TorchNet:
    """A network with other than initial values everywhere."""
    torch.manual_seed(0)
    network = TorchNet()
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(torch.rand_like(tensor))
    return network.eval()


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


def test_torch_to_keras_and_back_bit_for_bit(trained: TorchNet) -> None:
    model, back = keras_net(), TorchNet()
    port(trained, model, rename=TO_KERAS)
    port(model, back, rename=FROM_KERAS)
    assert same(state_dict(trained), state_dict(back))

    x = np.random.default_rng(0).normal(size=(2, 11, 14, 3)).astype("float32")
    expected = trained(torch.tensor(x).permute(0, 3, 1, 2)).detach().numpy()
    actual = keras.ops.convert_to_numpy(model(x, training=False))
    assert np.abs(actual - expected).max() < 1e-4 * np.abs(expected).max()


def test_torch_to_flax_and_back_bit_for_bit(trained: TorchNet) -> None:
    module, back = FlaxNet(rngs=nnx.Rngs(0)), TorchNet()
    port(trained, module)
    port(module, back)
    assert same(state_dict(trained), state_dict(back))

    x = np.random.default_rng(0).normal(size=(2, 11, 14, 3)).astype("float32")
    expected = trained(torch.tensor(x).permute(0, 3, 1, 2)).detach().numpy()
    module.eval()
    actual = nnx.jit(lambda module, x: module(x))(module, jnp.asarray(x))
    assert np.abs(np.asarray(actual) - expected).max() < 1e-4 * np.abs(expected).max()


def test_flax_to_keras_and_back_bit_for_bit(trained: TorchNet) -> None:
    module, model, back = FlaxNet(rngs=nnx.Rngs(0)), keras_net(), FlaxNet(rngs=nnx.Rngs(1))
    port(trained, module)
    port(module, model, rename=TO_KERAS)
    port(model, back, rename=FROM_KERAS)
    assert same(state_dict(trained), state_dict(back))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".npz", ".weights.h5"])
def test_one_file_for_all_three(trained: TorchNet, suffix: str, tmp_path) -> None:
    path = tmp_path / f"network{suffix}"
    save_weights(trained, path)
    module, model = FlaxNet(rngs=nnx.Rngs(0)), keras_net()
    load_weights(module, path)
    load_weights(model, path, rename=TO_KERAS)
    assert same(state_dict(module), state_dict(trained))
    renamed = {name.replace(".", "_", 1): a for name, a in state_dict(trained).items()}
    heads = {name: a for name, a in state_dict(trained).items() if name.startswith("head")}
    keras_state = state_dict(model)
    assert all(
        np.array_equal(keras_state[n], a) for n, a in (renamed | heads).items() if n in keras_state
    )


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_keras_files_load_back_into_a_live_model(trained: TorchNet, suffix: str, tmp_path) -> None:
    model, path = keras_net(), tmp_path / f"network{suffix}"
    port(trained, model, rename=TO_KERAS)
    save_weights(model, path)
    fresh = keras_net()
    load_weights(fresh, path)
    assert same(state_dict(model), state_dict(fresh))
    with pytest.raises(multiattn.LoadError):
        load_weights(TorchNet(), path)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_keras_files_of_our_layers_alone_load_anywhere(suffix: str, tmp_path) -> None:
    inputs = keras.Input((None, None, 24))
    outputs = multiattn.keras.CBAM(reduction=4, name="cbam")(inputs)
    model = keras.Model(inputs, multiattn.keras.BAM(reduction=4, name="bam")(outputs))
    path = tmp_path / f"model{suffix}"
    save_weights(model, path)
    target = nn.ModuleDict(
        {
            "cbam": multiattn.torch.CBAM(24, reduction=4),
            "bam": multiattn.torch.BAM(24, reduction=4),
        }
    )
    load_weights(target, path)
    assert same(state_dict(target), state_dict(model))


def test_a_keras_layer_that_is_not_built_is_an_error() -> None:
    with pytest.raises(ValueError, match="call it once on data or on a keras"):
        state_dict(multiattn.keras.CBAM())


def test_a_failed_live_load_leaves_the_model_as_it_was(tmp_path) -> None:
    path = tmp_path / "other.weights.h5"
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(5)])
    other.save_weights(path)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    before = state_dict(model)
    with pytest.raises(multiattn.FileError):
        load_weights(model, path)
    assert same(before, state_dict(model))


def test_sequential_members_go_by_position() -> None:
    model = keras.Sequential(
        [keras.Input((6, 6, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten()]
    )
    target = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    port(model, target)
    assert same(state_dict(model), state_dict(target))
    chain = nnx.Sequential(nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0)), nnx.relu)
    port(target, chain)
    assert same(state_dict(chain), state_dict(target))
