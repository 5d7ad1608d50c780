"""What PyTorch's own ground floor adds computes what torch.nn does."""

import pytest
import torch
import torch.nn.functional as F
from cases import FUNCTIONS, Case, reference, torch_neighbourhoods
from torch import nn

from multiattn.torch import nn as floor
from multiattn.torch.nn import (
    LSTM,
    BatchNorm2d,
    DropPath,
    LayerNorm2d,
    MaxPool1d,
    affine_grid,
    neighbourhoods,
    scaled_dot_product_attention,
)


@pytest.mark.parametrize("length", [8, 9])
@pytest.mark.parametrize(
    "options", [{}, {"stride": 3, "padding": 1}, {"dilation": 2, "ceil_mode": True}]
)
def test_max_pool_is_that_of_torch(length: int, options: dict) -> None:
    x = torch.randn(2, 3, length, dtype=torch.float64, requires_grad=True)
    ours, theirs = MaxPool1d(2, **options)(x), nn.MaxPool1d(2, **options)(x)
    assert torch.equal(ours, theirs)
    weights = torch.randn_like(ours)
    (one,), (other,) = (torch.autograd.grad((y * weights).sum(), x) for y in (ours, theirs))
    assert torch.equal(one, other)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("size", [(5, 4), (1, 7)])
def test_affine_grid_is_that_of_torch(size: tuple[int, int], align_corners: bool) -> None:
    theta = torch.randn(2, 2, 3, dtype=torch.float64)
    ours = affine_grid(theta, size, align_corners=align_corners)
    theirs = F.affine_grid(theta, [2, 1, *size], align_corners=align_corners)
    assert torch.allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dilation": 2, "stride": 2},
        {"padding": 1, "stride": 2},
        {"padding": 2, "padding_mode": "reflect"},
        {"padding": 1, "padding_mode": "replicate"},
    ],
)
def test_neighbourhoods_are_windows_of_the_padded_image(options: dict) -> None:
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    ours = neighbourhoods(x, 3, **options)
    assert torch.equal(ours.movedim(2, -1), torch_neighbourhoods(x, 3, **options))


@pytest.mark.parametrize("scale", [0.7, 1, None])
@pytest.mark.parametrize("keys", [7, 600])
@pytest.mark.parametrize("width", [6, 4])
def test_attention_over_strided_tokens_is_that_of_torch(
    width: int, keys: int, scale: float | None
) -> None:
    shapes = ((2, 6, 9), (2, 6, keys), (2, width, keys))
    given = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    tokens = [x.mT for x in given]
    actual = scaled_dot_product_attention(*tokens, scale=scale)
    factor = 6**-0.5 if scale is None else scale
    expected = torch.softmax(factor * tokens[0] @ tokens[1].mT, -1) @ tokens[2]
    assert torch.allclose(actual, expected, atol=1e-12)
    upstream = torch.randn_like(expected)
    ours = torch.autograd.grad((actual * upstream).sum(), given)
    theirs = torch.autograd.grad((expected * upstream).sum(), given)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_drop_path_drops_whole_samples_and_keeps_the_mean(rate: float) -> None:
    x = torch.ones(4000, 3, 2)
    layer = DropPath(rate)
    dropped = layer(x)
    assert set(dropped.unique().tolist()) == ({1.0} if not rate else {0.0, dropped.max().item()})
    assert torch.equal(dropped, dropped[:, :1, :1].expand_as(x))
    assert abs(dropped.mean() - 1) < 0.1
    assert torch.equal(layer.eval()(x), x)


def test_layer_norm_over_channels_is_that_of_torch_over_the_last_axis() -> None:
    x = torch.randn(2, 5, 3, 4)
    layer, last = LayerNorm2d(5, 1e-3), nn.LayerNorm(5, 1e-3)
    assert torch.allclose(layer(x), last(x.movedim(1, -1)).movedim(-1, 1))


def test_batch_norm_without_scale_has_a_bias_alone() -> None:
    x = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    ours, theirs = BatchNorm2d(3, scale=False).double(), nn.BatchNorm2d(3).double()
    assert torch.equal(ours(x), theirs(x))
    assert set(ours.state_dict()) == set(theirs.state_dict()) - {"weight"}
    assert torch.equal(ours.running_var, theirs.running_var)


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"num_layers": 2, "bidirectional": True}])
def test_lstm_is_that_of_torch_compiled_and_exported_too(options: dict) -> None:
    ours, theirs = LSTM(4, 3, **options).eval(), nn.LSTM(4, 3, batch_first=True, **options).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 6, 4)
    output, state = theirs(x)
    assert torch.equal(ours(x), output)
    assert all(map(torch.equal, ours(x, return_state=True)[1], state))
    assert torch.equal(torch.compile(ours, fullgraph=True, backend="eager")(x), output)
    unknown = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    program = torch.export.export(
        ours, (torch.zeros(3, 9, 4), True), dynamic_shapes=[unknown, None]
    ).module()
    for exported, plain in zip(
        [*program(x, True)[1], program(x, True)[0]], [*state, output], strict=True
    ):
        assert torch.allclose(exported, plain, atol=1e-6)


@pytest.mark.parametrize(
    "case",
    [case for case in FUNCTIONS if case.name in ("amax", "batch_conv2d", "pad_same")],
    ids=lambda case: case.id,
)
def test_function_is_what_the_other_floors_are_held_against(case: Case) -> None:
    inputs = [torch.from_numpy(array).requires_grad_() for array in case.arrays()]
    expected = reference(case)
    names = {"axis": "dim", "keepdims": "keepdim"} if case.name == "amax" else {}
    options = {names.get(name, name): value for name, value in case.options.items()}
    output = getattr(floor, case.name)(*inputs, **options)
    with torch.no_grad():
        assert torch.equal(getattr(floor, case.name)(*inputs, **options), output)
    output.backward(torch.from_numpy(expected.cotangents[0]))
    wanted = [*expected.outputs, *expected.input_grads]
    for ours, theirs in zip([output.detach(), *(x.grad for x in inputs)], wanted, strict=True):
        assert torch.allclose(ours, torch.from_numpy(theirs), atol=1e-12)


def test_a_custom_gradient_is_ours_compiled_and_exported_too() -> None:
    def call(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return floor.custom_gradient(torch.mul, lambda up, x, y: (up**2 * y, None), x, y)

    x, y, up = torch.randn(3, 4, 5, dtype=torch.float64)
    for backend in (None, "eager", "aot_eager"):
        function = torch.compile(call, fullgraph=True, backend=backend) if backend else call
        given = [one.clone().requires_grad_() for one in (x, y)]
        output = function(*given)
        assert torch.equal(output, x * y)
        gradients = torch.autograd.grad((output * up).sum(), given, materialize_grads=True)
        assert torch.equal(gradients[0], up**2 * y)
        assert not gradients[1].any()
        assert torch.equal(function(x, y), x * y)
