"""Backbones: published sizes, plugged-in attention, feature maps, other heads and image sizes."""

from pathlib import Path

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import torch
from flax import nnx
from typer.testing import CliRunner

import multiattn
import multiattn.flax as mf
import multiattn.keras as mk
import multiattn.torch as mt
from multiattn import catalog
from multiattn.cli import app

MODELS = [(entry, name) for entry in catalog.entries().values() for name in entry.models]
TINY = {"depths": [1, 1, 1, 1], "widths": [8, 16, 24, 32], "stem_width": 8, "num_classes": 5}
# A small network of each class, and the size of its images.
SMALL = {
    "ResNet": (TINY, 64),
    "ConvNeXt": ({"depths": [1, 1], "widths": [8, 16], "num_classes": 5}, 32),
    "VisionTransformer": (
        {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
        | {"num_classes": 5},
        32,
    ),
    "SwinTransformer": (
        {"img_size": 32, "embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4}
        | {"num_classes": 5},
        32,
    ),
}


def outputs_of(torch_net, keras_net, flax_net, size: int) -> list:
    """What three networks that have the same weights give for the same images, channels last."""
    x = np.random.default_rng(0).standard_normal((2, size, size, 3)).astype(np.float32)
    keras_net(x[:1])
    with torch.no_grad():  # initially branches are zero
        for tensor in (*torch_net.parameters(), *torch_net.buffers()):
            if tensor.is_floating_point() and tensor.dim() != 3:
                tensor.add_(0.1 * torch.rand_like(tensor))
    multiattn.port(torch_net, keras_net)
    multiattn.port(torch_net, flax_net)
    torch_net.eval()
    flax_net.eval()
    with torch.no_grad():
        first = torch_net(torch.from_numpy(x).permute(0, 3, 1, 2))
    first = first if isinstance(first, list) else [first]
    first = [y.movedim(1, -1).numpy() for y in first]
    second, third = keras_net(x, training=False), nnx.jit(lambda net, x: net(x))(flax_net, x)
    second = second if isinstance(second, list) else [second]
    third = third if isinstance(third, list) else [third]
    return [first, [np.asarray(y) for y in second], [np.asarray(y) for y in third]]


def close(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.abs(one - other).max() < 1e-4 * max(1, one.std())


@pytest.mark.parametrize(("entry", "name"), MODELS, ids=[name for _, name in MODELS])
def test_a_published_network_has_as_many_parameters_as_published(entry, name: str) -> None:
    with torch.device("meta"):
        network = mt.create(name)
    assert type(network).__name__ == entry.name
    assert sum(p.numel() for p in network.parameters()) == entry.models[name].parameters


def test_published_networks_are_listed_and_found() -> None:
    assert "resnet50" in multiattn.list_models("resnet*", cls="ResNet")
    assert multiattn.info("ResNet50").name == "ResNet"
    with pytest.raises(ValueError, match="did you mean resnet50"):
        multiattn.info("resnet5O")


@pytest.mark.parametrize("name", SMALL)
def test_the_three_agree_without_a_classifier_and_as_feature_maps(name: str) -> None:
    options, size = SMALL[name]
    for change in ({"num_classes": 0}, {"features_only": True}):
        given = {**options, **change}
        nets = mt.create(name, **given), mk.create(name, **given)
        results = outputs_of(*nets, mf.create(name, **given, rngs=nnx.Rngs(0)), size)
        assert len({len(result) for result in results}) == 1
        for first, second, third in zip(*results, strict=True):
            assert close(first, second)
            assert close(first, third)


@pytest.mark.parametrize("name", SMALL)
def test_feature_maps_are_those_on_the_way_to_the_logits(name: str) -> None:
    options, size = SMALL[name]
    whole = mt.create(name, **options).eval()
    maps = mt.create(name, **options, features_only=True).eval()
    multiattn.load_state_dict(maps, multiattn.state_dict(whole), adapt=True, strict=False)
    x = torch.randn(1, 3, size, size)
    expected, actual = whole.stage_features(x), maps(x)
    assert all(torch.equal(a, b) for a, b in zip(expected, actual, strict=True))
    assert len(multiattn.state_dict(maps)) < len(multiattn.state_dict(whole))


# Further options of the classes, beyond those of the conformance cases.
VARIANTS = [
    ("ResNet", {"stem_pool": "conv", "stem_type": "deep", "cardinality": 2, "base_width": 64}),
    ("ResNet", {"output_stride": 16, "avg_down": True, "block_reduce_first": 2}),
    ("ResNet", {"output_stride": 8, "down_kernel_size": 3, "stem_pool": "max_ceil"}),
    ("ResNet", {"block": "basic", "avg_down": True, "output_stride": 8, "conv_bias": True}),
    ("ConvNeXt", {"patch_size": 2, "kernel_size": [3, 5], "layer_scale": None}),
    ("ConvNeXt", {"stem_type": "overlap", "head_norm_first": True, "use_grn": True}),
    ("VisionTransformer", {"pre_norm": True, "pool": "avg", "reg_tokens": 2, "qk_norm": True}),
    ("VisionTransformer", {"no_embed_class": True, "init_values": 0.1, "distilled": True}),
    ("VisionTransformer", {"no_embed_class": True, "class_token": False, "pool": "avg"}),
    ("SwinTransformer", {"window_size": 9, "qkv_bias": False, "patch_size": 2}),
    ("SwinTransformer", {"window_size": 5, "depths": [2, 2, 2], "num_heads": [1, 2, 4]}),
]


@pytest.mark.parametrize(("name", "change"), VARIANTS)
def test_the_three_agree_under_any_options(name: str, change: dict) -> None:
    options, size = SMALL[name]
    given = {**options, **change}
    nets = mt.create(name, **given), mk.create(name, **given)
    (first,), (second,), (third,) = outputs_of(
        *nets, mf.create(name, **given, rngs=nnx.Rngs(0)), size
    )
    assert close(first, second)
    assert close(first, third)


# Module, options, position: single names, aliases, options for each stage, without a width.
PLUGGED = [
    ("CoordAttention", {"reduction": 4}, "residual"),
    ("simam_module", None, "residual"),
    ("ECA", [{"kernel_size": k} for k in (3, 3, 5, 5)], "residual"),
    ("TripletAttention", {"kernel_size": 3}, "stage"),
]


@pytest.mark.parametrize(("module", "options", "position"), PLUGGED)
def test_an_attention_module_plugs_in_and_its_weights_port(module, options, position) -> None:
    given = {
        **TINY,
        "attention": module,
        "attention_options": options,
        "attention_position": position,
    }
    nets = mt.create("ResNet", **given), mk.create("ResNet", **given)
    (first,), (second,), (third,) = outputs_of(
        *nets, mf.create("ResNet", **given, rngs=nnx.Rngs(0)), 64
    )
    assert close(first, second)
    assert close(first, third)


def test_an_attention_module_may_be_a_class() -> None:
    with torch.device("meta"):
        named = mt.create("resnet18", attention="CBAM", attention_options={"reduction": 8})
        given = mt.create("resnet18", attention=mt.CBAM, attention_options={"reduction": 8})
    assert [n for n, _ in named.named_parameters()] == [n for n, _ in given.named_parameters()]
    assert isinstance(given.layer2[0].se, mt.CBAM)
    flax = nnx.eval_shape(lambda: mf.ResNet(**TINY, attention=mf.CBAM, rngs=nnx.Rngs(0)))
    assert isinstance(flax.layer1[0].se, mf.CBAM)


def test_attention_is_only_in_the_stages_that_are_named() -> None:
    network = mt.ResNet(**TINY, attention="ECA", attention_stages=[2, 4])
    assert [getattr(network, f"layer{s}")[0].se is None for s in (1, 2, 3, 4)] == [
        True,
        False,
        True,
        False,
    ]


def test_a_keras_model_with_attention_is_saved_and_loaded_whole(tmp_path: Path) -> None:
    for attention in ("CBAM", mk.CBAM):
        network = mk.ResNet(**TINY, attention=attention, attention_options={"reduction": 2})
        inputs = keras.Input((None, None, 3))
        model = keras.Model(inputs, network(inputs))
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        x = np.random.default_rng(0).standard_normal((1, 40, 72, 3)).astype(np.float32)
        assert np.array_equal(model(x), again(x))


def test_keras_gives_intermediate_maps_as_a_functional_model() -> None:
    network = mk.ResNet(**TINY, features_only=True)
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, network(inputs))
    assert [y.shape[-1] for y in model.outputs] == [8, 32, 64, 96, 128]
    sizes = [y.shape[1:3] for y in model(np.zeros((1, 64, 96, 3), np.float32))]
    assert sizes == [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]


def test_a_method_of_a_keras_module_builds_it() -> None:
    network = mk.VisionTransformer(**SMALL["VisionTransformer"][0])
    assert [y.shape for y in network.stage_features(np.zeros((1, 32, 32, 3), np.float32))] == [
        (1, 4, 4, 16),
        (1, 4, 4, 16),
    ]


MISTAKES = [
    ("ResNet", {"block": "plain"}, "block"),
    ("ResNet", {"depths": [1, 1]}, "depths"),
    ("ResNet", {"output_stride": 4}, "output_stride"),
    ("ResNet", {"block": "basic", "cardinality": 2}, "cardinality"),
    ("ResNet", {"attention": "Atention"}, "there is no module"),
    ("ResNet", {"attention_position": "end"}, "attention_position"),
    ("ResNet", {"attention": "ECA", "attention_options": [{}, {}]}, "attention_options"),
    ("ResNet", {"attention_stages": [0, 1]}, "attention_stages"),
    ("ResNet", {"widths": [8, 16, 24, 0]}, "widths"),
    ("ResNet", {"widths": [8, 16, 24, 32], "base_width": 4}, "inner width"),
    ("ConvNeXt", {"kernel_size": 4}, "kernel_size"),
    ("ConvNeXt", {"head_norm_first": True, "head_hidden_size": 8}, "exclude"),
    ("VisionTransformer", {"num_heads": 5}, "num_heads"),
    ("VisionTransformer", {"class_token": False}, "class token"),
    ("VisionTransformer", {"img_size": [32]}, "img_size"),
    ("VisionTransformer", {"distilled": True, "reg_tokens": 2}, "distilled"),
    ("SwinTransformer", {"num_heads": [5, 3, 6, 12]}, "num_heads"),
]


@pytest.mark.parametrize(("name", "options", "message"), MISTAKES)
def test_a_mistaken_option_is_one_clear_error(name: str, options: dict, message: str) -> None:
    def make_keras():
        network = mk.create(name, **options)
        network(np.zeros((1, 224, 224, 3), np.float32))

    makers = [lambda: mt.create(name, **options), make_keras]
    makers.append(lambda: nnx.eval_shape(lambda: mf.create(name, **options, rngs=nnx.Rngs(0))))
    for make in makers:
        with torch.device("meta"), pytest.raises(ValueError, match=message):
            make()


def test_images_of_another_size_are_refused_where_the_size_is_fixed() -> None:
    x = np.zeros((1, 40, 32, 3), np.float32)
    for name in ("VisionTransformer", "SwinTransformer"):
        options, _ = SMALL[name]
        with pytest.raises(ValueError, match="x has size"):
            mt.create(name, **options)(torch.from_numpy(x).permute(0, 3, 1, 2))
        with pytest.raises(ValueError, match="x has size"):
            mk.create(name, **options)(x)
        with pytest.raises(ValueError, match="x has size"):
            mf.create(name, **options, rngs=nnx.Rngs(0))(jnp.asarray(x))


def test_drop_path_drops_whole_branches_in_training_only() -> None:
    options = {**TINY, "drop_path": 0.9}
    net = mt.ResNet(**options)
    x = torch.randn(16, 3, 32, 32)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net.eval()(x), net(x))
    flax = mf.ResNet(**options, rngs=nnx.Rngs(0))
    flax.eval()
    y = jnp.asarray(x.permute(0, 2, 3, 1).numpy())
    assert jax.numpy.array_equal(flax(y), flax(y))


def test_another_head_and_image_size_load_when_asked() -> None:
    options, _ = SMALL["VisionTransformer"]
    source = mt.VisionTransformer(**options)
    target = mt.VisionTransformer(**{**options, "img_size": (48, 64), "num_classes": 3})
    state, before = multiattn.state_dict(source), multiattn.state_dict(target)
    with pytest.raises(multiattn.LoadError):
        multiattn.load_state_dict(target, state)
    report = multiattn.load_state_dict(target, state, adapt=True)
    after = multiattn.state_dict(target)
    assert report.kept == ["head.bias", "head.weight"]
    assert np.array_equal(after["head.weight"], before["head.weight"])
    assert np.array_equal(after["pos_embed"][:, 0], state["pos_embed"][:, 0])
    assert np.array_equal(after["norm.weight"], state["norm.weight"])
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(state["pos_embed"][:, 1:]).reshape(1, 4, 4, 16).permute(0, 3, 1, 2),
        size=(6, 8),
        mode="bicubic",
        antialias=True,
    )
    actual = after["pos_embed"][:, 1:].reshape(1, 6, 8, 16).transpose(0, 3, 1, 2)
    assert np.abs(actual - expected.numpy()).max() < 1e-6


def test_the_command_line_ports_a_published_network_to_a_keras_model(tmp_path: Path) -> None:
    source, target = tmp_path / "resnet18.safetensors", tmp_path / "resnet18.keras"
    network = mt.create("resnet18", num_classes=11).eval()
    multiattn.save_weights(network, source)
    result = CliRunner().invoke(app, ["port", str(source), str(target), "--model", "resnet18"])
    assert result.exit_code == 0, result.output
    x = np.random.default_rng(0).standard_normal((1, 65, 83, 3)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
    assert close(np.asarray(keras.saving.load_model(target)(x)), expected)
