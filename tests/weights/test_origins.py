"""Weights of other origins load under their own names, through the catalog's tables."""

import numpy as np
import pytest
import torch

import multiattn.torch as ma
from multiattn import LoadError, load_state_dict, state_dict
from multiattn.weights.layout import AxisOrder


def renamed(state: dict, pairs: dict[str, str]) -> dict:
    return {pairs.get(name, name): array for name, array in state.items()}


def loads_back(make, origin: dict) -> None:
    """A fresh module filled from an origin's state gives the state that it was made from."""
    source, target = make(), make()
    expected = state_dict(source)
    theirs = {their: change(expected[ours]) for their, (ours, change) in origin.items()}
    load_state_dict(target, theirs)
    actual = state_dict(target)
    assert actual.keys() == expected.keys()
    assert all(np.array_equal(actual[name], expected[name]) for name in expected)


def same(array):
    return array


def test_squeeze_excitation_of_tensorflow() -> None:
    def kernel(array):
        return array[:, :, 0, 0].T

    loads_back(
        lambda: ma.SqueezeExcitation(12, reduction=4),
        {
            "dense/kernel": ("fc1.weight", kernel),
            "dense/bias": ("fc1.bias", same),
            "dense_1/kernel": ("fc2.weight", kernel),
            "dense_1/bias": ("fc2.bias", same),
        },
    )


def test_squeeze_excitation_of_moskomule_has_linear_layers() -> None:
    loads_back(
        lambda: ma.SqueezeExcitation(12, reduction=4, bias=False),
        {
            "fc.0.weight": ("fc1.weight", lambda w: w[:, :, 0, 0]),
            "fc.2.weight": ("fc2.weight", lambda w: w[:, :, 0, 0]),
        },
    )


def test_coord_attention_of_tensorflow() -> None:
    def kernel(array):
        return array.transpose(2, 3, 1, 0)

    loads_back(
        lambda: ma.CoordAttention(
            16, conv1_bias=False, bn_scale=False, bn_eps=1e-3, bn_momentum=1e-3
        ),
        {
            "ca_conv1/weights": ("conv1.weight", kernel),
            "ca_conv1/BatchNorm/beta:0": ("bn1.bias", same),
            "ca_conv1/BatchNorm/moving_mean:0": ("bn1.running_mean", same),
            "ca_conv1/BatchNorm/moving_variance:0": ("bn1.running_var", same),
            "ca_conv2/weights:0": ("conv_h.weight", kernel),
            "ca_conv2/biases": ("conv_h.bias", same),
            "ca_conv3/weights": ("conv_w.weight", kernel),
            "ca_conv3/biases": ("conv_w.bias", same),
        },
    )


def test_style_recalibration_by_a_grouped_convolution() -> None:
    def make():
        module = ma.StyleRecalibration(6)
        torch.nn.init.normal_(module.cfc)
        return module

    names = state_dict(make()).keys() - {"cfc"}
    loads_back(
        make, {name: (name, same) for name in names} | {"cfc.weight": ("cfc", lambda w: w[:, None])}
    )


def test_cbam_of_timm_has_its_planes_the_other_way_round_and_no_biases() -> None:
    module = ma.CBAM(32)
    before = state_dict(module)
    conv = np.random.default_rng(0).normal(size=(1, 2, 7, 7)).astype(np.float32)
    fc1 = np.random.default_rng(1).normal(size=(2, 32, 1, 1)).astype(np.float32)
    state = {"spatial.conv.conv.weight": conv, "channel.fc1.weight": fc1}
    report = load_state_dict(module, state, strict=False)
    after = state_dict(module)
    assert np.array_equal(after["spatial_gate.conv.weight"], conv[:, ::-1])
    assert np.array_equal(after["channel_gate.fc1.weight"], fc1[:, :, 0, 0])
    assert np.array_equal(after["channel_gate.fc1.bias"], before["channel_gate.fc1.bias"])
    assert report.renamed["channel.fc1.weight"] == "channel_gate.fc1.weight"


@pytest.mark.parametrize("prefix", ["", "layer1.0."])
def test_an_origin_is_recognised_inside_a_network(prefix: str) -> None:
    attention = ma.TripletAttention()
    network = torch.nn.ModuleDict({"layer1": torch.nn.ModuleList([attention])})
    state = {
        (prefix + name if prefix else "layer1.0." + name)
        .replace("cw.", "ChannelGateH.spatial.")
        .replace("hc.", "ChannelGateW.spatial.")
        .replace("hw.", "SpatialGate.spatial."): array + 1
        for name, array in state_dict(attention).items()
    }
    expected = {f"layer1.0.{name}": array + 1 for name, array in state_dict(attention).items()}
    load_state_dict(network, state)
    actual = state_dict(network)
    assert all(np.array_equal(actual[name], expected[name]) for name in expected)


def test_names_of_ours_may_be_an_origin_s_for_others() -> None:
    def make():
        sizes = {"depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1], "window_size": 2}
        return ma.SwinTransformer(img_size=32, embed_dim=4, num_classes=3, **sizes)

    def theirs(name: str) -> str:
        for stage in (1, 2, 3):
            name = name.replace(f"layers.{stage}.downsample", f"layers.{stage - 1}.downsample")
        return name.replace("head.fc.", "head.")

    loads_back(make, {theirs(name): (name, same) for name in state_dict(make())})


def test_two_names_that_become_one_must_hold_the_same() -> None:
    module = ma.SqueezeExcitation(12, reduction=4, bias=False)
    state = state_dict(module)
    state["fc.0.weight"] = state["fc1.weight"] + 1
    before = state_dict(module)
    with pytest.raises(LoadError, match="another value"):
        load_state_dict(module, state)
    assert all(np.array_equal(before[name], array) for name, array in state_dict(module).items())


@pytest.mark.parametrize(
    ("pattern", "spatial", "own", "canonical"),
    [
        ("* i o -> o i *", 2, (3, 5, 2, 7), (7, 2, 3, 5)),
        ("* c m -> (c m) 1 *", 2, (3, 5, 4, 2), (8, 1, 3, 5)),
        ("* o i -> i o *", 1, (3, 5, 2), (2, 5, 3)),
        ("i o -> o i", 0, (3, 5), (5, 3)),
        ("i o -> o i", 0, (9, 3, 5), (9, 5, 3)),
    ],
)
def test_an_axis_order_goes_there_and_back(pattern, spatial, own, canonical) -> None:
    order = AxisOrder(pattern, spatial)
    array = np.arange(np.prod(own)).reshape(own)
    assert order.canonical_shape(own) == canonical
    assert order.to_canonical(array).shape == canonical
    assert np.array_equal(order.from_canonical(order.to_canonical(array), own), array)


def test_a_depthwise_kernel_is_ordered_by_channel_then_multiplier() -> None:
    kernel = np.arange(2 * 3).reshape(1, 1, 2, 3)
    order = AxisOrder("* c m -> (c m) 1 *", 2)
    assert order.to_canonical(kernel)[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
