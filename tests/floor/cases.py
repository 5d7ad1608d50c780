"""What each piece of the ground floors must compute: PyTorch's own answer, case by case.

`FUNCTIONS` and `LAYERS` list the cases, `reference(case)` computes one with PyTorch. Arrays are
channels first here; an input or output whose layout is "image" has its channels moved last in the
other frameworks, a "plain" one is the same.
"""

import math
import zlib
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Input:
    """An array to be drawn, as `fill` says (see `draw`)."""

    shape: tuple[int, ...]
    fill: str = "normal"
    layout: str = "image"

    @property
    def differentiable(self) -> bool:
        return self.fill not in ("integers", "mask")


def image(*shape: int, fill: str = "normal") -> Input:
    return Input(shape, fill)


def plain(*shape: int, fill: str = "normal") -> Input:
    return Input(shape, fill, "plain")


@dataclass(frozen=True)
class Case:
    """One check of the floor's `name`.

    Args:
        name: the function or class in the ground floors.
        inputs: the arrays of the call, in order; keyword ones are named in `keywords`.
        options: keyword options of the function, or of the class's constructor.
        args: positional arguments of the class's constructor.
        widths: which of `args` only state an input's width, for a framework that infers it.
        keywords: names of the last inputs, for those that are given by keyword.
        call: keyword options of a layer's call.
        output: layout of the output.
        train: whether a layer is called in training mode.
    """

    name: str
    inputs: tuple[Input, ...]
    options: dict[str, Any] = field(default_factory=dict)
    args: tuple = ()
    widths: tuple[int, ...] = (0,)
    keywords: tuple[str, ...] = ()
    call: dict[str, Any] = field(default_factory=dict)
    output: str = "image"
    train: bool = True

    @property
    def id(self) -> str:
        options = [*self.args, *(f"{k}={v}" for k, v in (self.options | self.call).items())]
        shapes = ["x".join(map(str, i.shape)) + i.fill[:1] for i in self.inputs]
        words = [self.name, *options, *shapes, *self.keywords, *([] if self.train else ["eval"])]
        return "-".join(str(word).replace(" ", "") for word in words)

    def drawn(self, name: str, shape: tuple[int, ...], fill: str) -> np.ndarray:
        """The array called `name` of this case, the same in every process, exact in float32."""
        random = np.random.RandomState(zlib.crc32(f"{self.id}/{name}".encode()))
        array = draw(random, shape, fill)
        return array.astype(np.float32).astype(np.float64) if array.dtype == float else array

    def arrays(self) -> list[np.ndarray]:
        return [self.drawn(f"input.{k}", i.shape, i.fill) for k, i in enumerate(self.inputs)]


POINTS = np.array([-25, -7, -3, -1, -0.5, 0, 0.5, 1, 3, 6, 7, 19.5, 20.5, 25])


def draw(random: np.random.RandomState, shape: tuple[int, ...], fill: str) -> np.ndarray:
    """An array of a kind: normal, ties (few values), points (where activations bend), ..."""
    match fill:
        case "normal":
            return random.standard_normal(shape)
        case "weight":
            return random.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))
        case "positive":
            return 0.5 + random.random_sample(shape)
        case "ties":
            return random.randint(-2, 3, shape).astype(np.float64)
        case "points":
            return random.choice(POINTS, shape)
        case "zeros":
            return np.zeros(shape)
        case "grid":  # inside, outside and exactly on the border of [-1, 1]
            array = 3 * random.random_sample(shape) - 1.5
            array.flat[:: max(1, array.size // 8)] = random.choice([-1.0, 0.0, 1.0])
            return array
        case "integers":
            return random.randint(0, 5, shape)
        case "mask":
            array = random.random_sample(shape) < 0.6
            array[..., 0] = True
            return array
    raise ValueError(f"draw: unknown fill {fill!r}")


# The floor's functions where torch.nn.functional has them under other names or signatures.


def by_rank(function: str, x: Tensor, **options) -> Tensor:
    """`F.<function>{1,2,3}d` as the rank of x asks."""
    return getattr(F, f"{function}{x.ndim - 2}d")(x, **options)


def torch_pad(x: Tensor, padding, *, mode: str = "zeros", value: float = 0.0) -> Tensor:
    flat = [amount for pair in reversed(padding) for amount in pair]
    return F.pad(x, flat, "constant", value) if mode == "zeros" else F.pad(x, flat, mode)


def torch_interpolate(x: Tensor, size=None, *, align_corners: bool = False, **options) -> Tensor:
    if options.get("mode", "nearest") in ("nearest", "nearest-exact", "area"):
        return F.interpolate(x, size, **options)
    return F.interpolate(x, size, align_corners=align_corners, **options)


def torch_attention(query: Tensor, key: Tensor, value: Tensor, *, mask=None, scale=None) -> Tensor:
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    weights = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        weights = (
            weights.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else weights + mask
        )
    return (weights.softmax(-1) @ value).transpose(1, 2)


def torch_affine_grid(theta: Tensor, size, *, align_corners: bool = False) -> Tensor:
    return F.affine_grid(theta, [len(theta), 1, *size], align_corners)


def torch_neighbourhoods(
    x: Tensor, kernel_size, *, stride=1, dilation=1, padding=0, padding_mode="zeros"
) -> Tensor:
    x = torch_pad(x, [(padding, padding)] * 2, mode=padding_mode)
    if isinstance(kernel_size, int):
        kernel_size = (kernel_size, kernel_size)
    for axis, size in enumerate(kernel_size, 2):
        x = x.unfold(axis, dilation * (size - 1) + 1, stride)
    return x[..., ::dilation, ::dilation].flatten(-2)


def torch_batch_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, **options) -> Tensor:
    biases = [None] * len(x) if bias is None else bias
    images = zip(x[:, None], weight, biases, strict=True)
    return torch.cat([F.conv2d(*image, **options) for image in images])


def torch_pad_same(x: Tensor, kernel_size: int, *, stride: int = 1, dilation: int = 1) -> Tensor:
    """So that windows begin at each of the first ceil(size / stride) places, a stride apart."""
    margins = []
    for size in x.shape[:1:-1]:
        reach = (math.ceil(size / stride) - 1) * stride + dilation * (kernel_size - 1) + 1
        missing = max(reach - size, 0)
        margins += [missing // 2, missing - missing // 2]
    return F.pad(x, margins)


def parts(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.real, x.imag


def torch_amax(x: Tensor, *, axis: int | tuple[int, int], keepdims: bool = False) -> Tensor:
    if isinstance(axis, int):
        return x.max(axis, keepdim=keepdims).values
    largest = x.flatten(*axis).max(axis[0], keepdim=keepdims).values
    return largest.unsqueeze(axis[1]) if keepdims else largest


TORCH_FUNCTIONS = {
    "batch_conv2d": torch_batch_conv2d,
    "pad_same": torch_pad_same,
    "max_pool": partial(by_rank, "max_pool"),
    "avg_pool": partial(by_rank, "avg_pool"),
    "adaptive_avg_pool": partial(by_rank, "adaptive_avg_pool"),
    "adaptive_max_pool": partial(by_rank, "adaptive_max_pool"),
    "interpolate": torch_interpolate,
    "grid_sample": lambda x, grid, *, align_corners=False, **options: F.grid_sample(
        x, grid, align_corners=align_corners, **options
    ),
    "affine_grid": torch_affine_grid,
    "neighbourhoods": torch_neighbourhoods,
    "unfold": lambda x, **options: F.unfold(x, **options).mT,
    "fold": lambda x, **options: F.fold(x.mT, **options),
    "pixel_shuffle": lambda x, factor: F.pixel_shuffle(x, factor),
    "pixel_unshuffle": lambda x, factor: F.pixel_unshuffle(x, factor),
    "pad": torch_pad,
    "flatten": lambda x: x.flatten(1),
    "scaled_dot_product_attention": torch_attention,
    "absolute": torch.abs,
    "maximum": torch.maximum,
    "amax": torch_amax,
    "rfft2": lambda x: parts(torch.fft.rfft2(x, norm="ortho")),
    "irfft2": lambda real, imaginary, size: torch.fft.irfft2(
        torch.complex(real, imaginary), size, norm="ortho"
    ),
    "std": lambda x, axis, keepdims=False: x.std(axis, keepdim=keepdims),
    "softmax": lambda x, axis=-1: x.softmax(axis),
    "log_softmax": lambda x, axis=-1: x.log_softmax(axis),
    "normalize": lambda x, p=2, axis=-1, eps=1e-12: F.normalize(x, p, axis, eps),
    "hardsigmoid": lambda x: F.relu6(x + 3) / 6,  # the fused one's gradient is 1e-8 off
    "hardswish": lambda x: x * F.relu6(x + 3) / 6,
}

# The floor's layers where torch.nn has them under other names or signatures.


def affine(layer: nn.Module, scale: bool, bias: bool) -> nn.Module:
    """The layer without its weight, or its bias, if so asked."""
    for name, wanted in (("weight", scale), ("bias", bias)):
        if not wanted:
            layer.register_parameter(name, None)
    return layer


class BatchNorm(nn.BatchNorm2d):
    def _check_input_dim(self, x: Tensor):
        """Any rank will do."""


class InstanceNorm(nn.InstanceNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return self._apply_instance_norm(x)  # any rank


class LSTM(nn.LSTM):
    def forward(self, x: Tensor, return_state: bool = False):
        output, state = super().forward(x)
        return (output, state) if return_state else output


class MultiheadAttention(nn.MultiheadAttention):
    def forward(
        self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None
    ) -> Tensor:
        key = query if key is None else key
        return super().forward(query, key, key if value is None else value, need_weights=False)[0]


TORCH_LAYERS = {
    "BatchNorm": lambda *args, scale=True, bias=True, **options: affine(
        BatchNorm(*args, **options), scale, bias
    ),
    "LayerNorm": lambda *args, scale=True, bias=True, **options: affine(
        nn.LayerNorm(*args, **options), scale, bias
    ),
    "InstanceNorm": InstanceNorm,
    "LSTM": partial(LSTM, batch_first=True),
    "MultiheadAttention": partial(MultiheadAttention, batch_first=True),
}


# The cases.


def cases(name: str, *inputs: Input, options=({},), **common) -> list[Case]:
    """One case of `name` for each of the options."""
    return [Case(name, inputs, given, **common) for given in options]


def activation_cases() -> list[Case]:
    names = (
        "relu relu6 elu selu celu silu mish sigmoid tanh hardsigmoid hardswish hardtanh softplus "
        "softsign logsigmoid"
    )
    options = {name: [{}] for name in names.split()} | {
        "leaky_relu": [{}, {"negative_slope": 0.2}],
        "gelu": [{}, {"approximate": "tanh"}],
    }
    return [
        case
        for name, given in options.items()
        for fill in ("normal", "points")
        for case in cases(name, plain(3, 30, fill=fill), options=given, output="plain")
    ]


AXES = [{}, {"axis": 1}]
WINDOWS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
    {"kernel_size": 4, "stride": 3, "padding": 2, "ceil_mode": True},
]
SHAPES = [(2, 3, 9), (2, 3, 8, 7), (2, 2, 5, 6, 7)]
PADDINGS = [
    ((1, 2),),
    ((2, 0), (1, 3)),
    ((1, 1), (0, 2), (2, 1)),
]
SIZES = [
    (image(2, 3, 7), "linear", [5, 14, 1]),
    (image(2, 3, 6, 5), "bilinear", [(6, 5), (12, 10), (9, 4), (3, 3), (1, 7)]),
    (image(2, 3, 6, 5), "bicubic", [(6, 5), (12, 10), (9, 4), (3, 3), (1, 7)]),
    (image(2, 2, 4, 3, 5), "trilinear", [(8, 6, 10), (3, 5, 2)]),
    (image(2, 3, 7), "nearest", [5, 14]),
    (image(2, 3, 6, 5), "nearest", [(12, 10), (9, 4), (3, 3)]),
    (image(2, 2, 4, 3, 5), "nearest", [(8, 6, 10), (3, 5, 2)]),
    (image(2, 3, 6, 5), "nearest-exact", [(12, 10), (9, 4), (3, 3)]),
    (image(2, 3, 6, 5), "area", [(3, 5), (4, 3), (9, 7)]),
    (image(2, 3, 7), "area", [3]),
]
ATTENTION = (plain(2, 5, 3, 4), plain(2, 7, 3, 4), plain(2, 7, 3, 4))

FUNCTIONS: list[Case] = [
    *activation_cases(),
    *(
        case
        for name in ("softmax", "log_softmax")
        for case in cases(name, plain(2, 5, 4), options=AXES, output="plain")
    ),
    *(
        case
        for fill in ("normal", "ties", "zeros")
        for case in cases(
            "std",
            plain(2, 5, 3, fill=fill),
            options=[{"axis": 1}, {"axis": (0, 2), "keepdims": True}],
            output="plain",
        )
    ),
    *(
        case
        for fill in ("normal", "ties", "zeros")
        for case in cases(
            "amax",
            plain(3, 5, 4, 6, fill=fill),
            options=[
                {"axis": 1},
                {"axis": -1, "keepdims": True},
                {"axis": (1, 2)},
                {"axis": (1, 2), "keepdims": True},
            ],
            output="plain",
        )
    ),
    *(
        case
        for fill in ("normal", "ties", "zeros")
        for case in cases("maximum", plain(6, 5, fill=fill), plain(6, 5, fill=fill), output="plain")
    ),
    *cases("absolute", plain(6, 5, fill="ties"), output="plain"),
    *(case for size in ((6, 8), (7, 5), (4, 9)) for case in cases("rfft2", image(2, 3, *size))),
    *(
        case
        for height, width in ((6, 8), (7, 5), (4, 9))
        for case in cases(
            "irfft2",
            *(image(2, 3, height, width // 2 + 1) for _ in range(2)),
            options=[{"size": (height, width)}],
        )
    ),
    *(
        case
        for fill in ("normal", "ties", "zeros")
        for case in cases(
            "normalize",
            plain(2, 5, 3, fill=fill),
            options=[*AXES, {"p": 1}, {"p": 3}],
            output="plain",
        )
    ),
    *(
        case
        for shape in SHAPES
        for fill in ("normal", "ties")
        for case in cases(
            "max_pool",
            image(*shape, fill=fill),
            options=[
                *WINDOWS,
                {"kernel_size": 2, "stride": 1, "dilation": 2},
                {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2, "ceil_mode": True},
            ],
        )
    ),
    *cases(
        "max_pool",
        image(2, 3, 8, 7),
        options=[{"kernel_size": (3, 2), "stride": (1, 2), "padding": (1, 0)}],
    ),
    *(
        case
        for shape in SHAPES
        for case in cases(
            "avg_pool",
            image(*shape),
            options=[
                window | extra for window in WINDOWS for extra in ({}, {"count_include_pad": False})
            ],
        )
    ),
    *cases(
        "avg_pool",
        image(2, 3, 8, 7),
        options=[{"kernel_size": (3, 2), "stride": (1, 2), "padding": (1, 0)}],
    ),
    *(
        case
        for name, fill in (
            ("adaptive_avg_pool", "normal"),
            ("adaptive_max_pool", "normal"),
            ("adaptive_max_pool", "ties"),
        )
        for shape, sizes in (
            (SHAPES[0], [1, 3, 4, 9, 11]),
            (SHAPES[1], [1, 3, (4, 7), (5, 3), (None, 2), (10, 9)]),
            (SHAPES[2], [1, (2, 3, 5), (None, 4, 7)]),
        )
        for case in cases(
            name, image(*shape, fill=fill), options=[{"output_size": size} for size in sizes]
        )
    ),
    *(
        case
        for x, mode, sizes in SIZES
        for size in sizes
        for corners in (
            [{}] if mode.startswith(("nearest", "area")) else [{}, {"align_corners": True}]
        )
        for case in cases("interpolate", x, options=[{"size": size, "mode": mode} | corners])
    ),
    *(
        case
        for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area")
        for case in cases(
            "interpolate",
            image(2, 3, 6, 5),
            options=[
                {"scale_factor": factor, "mode": mode} for factor in (2, 0.5, 1.7, 0.6, (2, 1.3))
            ],
        )
    ),
    *cases("interpolate", image(2, 3, 6, 5), options=[{"scale_factor": 2}]),
    *cases(
        "interpolate",
        image(2, 3, 6, 5),
        options=[{"scale_factor": 1.7, "mode": "bilinear", "align_corners": True}],
    ),
    *(
        case
        for mode in ("bilinear", "nearest", "bicubic")
        for padding_mode in ("zeros", "border", "reflection")
        for case in cases(
            "grid_sample",
            image(2, 3, 5, 6),
            plain(2, 4, 7, 2, fill="grid"),
            options=[
                {"mode": mode, "padding_mode": padding_mode, "align_corners": corners}
                for corners in (False, True)
            ],
        )
    ),
    *cases(
        "grid_sample",
        image(2, 3, 1, 6),
        plain(2, 4, 7, 2, fill="grid"),
        options=[
            {"padding_mode": mode, "align_corners": True} for mode in ("border", "reflection")
        ],
    ),
    *cases(
        "affine_grid",
        plain(2, 2, 3),
        options=[{"size": (4, 5)}, {"size": (4, 5), "align_corners": True}, {"size": (1, 3)}],
        output="plain",
    ),
    *cases(
        "neighbourhoods",
        image(2, 3, 7, 6),
        options=[
            {"kernel_size": 3},
            {"kernel_size": (3, 2), "stride": 2, "padding": 1},
            {"kernel_size": 3, "dilation": 2, "stride": 2},
            {"kernel_size": 5, "padding": 2, "padding_mode": "reflect"},
            {"kernel_size": 3, "padding": 1, "padding_mode": "replicate", "dilation": 2},
            {"kernel_size": 3, "padding": 1, "padding_mode": "circular", "stride": 2},
        ],
    ),
    *cases(
        "unfold",
        image(2, 3, 7, 6),
        options=[
            {"kernel_size": 3},
            {"kernel_size": 3, "padding": 1},
            {"kernel_size": (3, 2), "stride": 2, "padding": (1, 0)},
            {"kernel_size": 2, "dilation": 2, "stride": (2, 1)},
        ],
        output="plain",
    ),
    *cases(
        "fold", plain(2, 42, 27), options=[{"output_size": (7, 6), "kernel_size": 3, "padding": 1}]
    ),
    *cases(
        "fold", plain(2, 9, 12), options=[{"output_size": (7, 6), "kernel_size": 2, "stride": 2}]
    ),
    *cases(
        "fold",
        plain(2, 12, 12),
        options=[{"output_size": (7, 6), "kernel_size": 2, "dilation": 2, "stride": (2, 1)}],
    ),
    *cases("pixel_shuffle", image(2, 18, 3, 5), options=[{"factor": 3}]),
    *cases("pixel_unshuffle", image(2, 2, 6, 9), options=[{"factor": 3}]),
    *cases("channel_shuffle", image(2, 6, 3, 5), options=[{"groups": 3}]),
    *cases("flatten", image(2, 6, 3, 5), output="plain"),
    *(
        case
        for shape, padding in zip(SHAPES, PADDINGS, strict=True)
        for case in cases(
            "pad",
            image(*shape),
            options=[
                {"padding": padding},
                {"padding": padding, "value": -1.5},
                *(
                    {"padding": padding, "mode": mode}
                    for mode in ("reflect", "replicate", "circular")
                ),
            ],
        )
    ),
    *cases(
        "scaled_dot_product_attention", *ATTENTION, options=[{}, {"scale": 0.3}], output="plain"
    ),
    *cases("scaled_dot_product_attention", *ATTENTION[:2], plain(2, 7, 3, 6), output="plain"),
    *(
        case
        for mask in (
            plain(5, 7, fill="mask"),
            plain(2, 1, 5, 7, fill="mask"),
            plain(3, 5, 7),
            plain(2, 1, 1, 7),
        )
        for case in cases(
            "scaled_dot_product_attention", *ATTENTION, mask, keywords=("mask",), output="plain"
        )
    ),
]

FUNCTIONS += [
    *cases(
        "conv1d",
        image(2, 4, 9),
        plain(6, 4, 3, fill="weight"),
        plain(6),
        options=[{}, {"stride": 2, "padding": 1}, {"padding": 2, "dilation": 2}],
    ),
    *cases(
        "conv1d",
        image(2, 4, 9),
        plain(4, 1, 2, fill="weight"),
        options=[{"groups": 4}, {"padding": 1, "stride": 2, "dilation": 2, "groups": 4}],
    ),
    *(
        case
        for name, batch in (("conv2d", ()), ("batch_conv2d", (2,)))
        for groups in (1, 2, 4)
        for case in cases(
            name,
            image(2, 4, 8, 7),
            plain(*batch, 8, 4 // groups, 3, 2, fill="weight"),
            plain(*batch, 8),
            options=[
                {"groups": groups},
                {"padding": 1, "groups": groups},
                {"stride": 2, "padding": (1, 0), "dilation": (1, 2), "groups": groups},
                {"stride": (2, 1), "padding": 2, "dilation": 2, "groups": groups},
            ],
        )
    ),
    *(
        case
        for name, batch in (("conv2d", ()), ("batch_conv2d", (2,)))
        for outputs in (1, 3)
        for case in cases(
            name, image(2, 4, 5, 6), plain(*batch, outputs, 4, 1, 1, fill="weight"), options=[{}]
        )
    ),
    *cases(
        "batch_conv2d",
        image(2, 4, 8, 7),
        plain(2, 4, 1, 3, 3, fill="weight"),
        options=[{"groups": 4}, {"stride": 2, "padding": 1, "groups": 4}],
    ),
    *(
        case
        for shape in ((2, 3, 9), (2, 3, 8, 7))
        for case in cases(
            "pad_same",
            image(*shape),
            options=[
                {"kernel_size": 3},
                {"kernel_size": 3, "stride": 2},
                {"kernel_size": 2, "stride": 3, "dilation": 2},
                {"kernel_size": 2, "stride": 4},
            ],
        )
    ),
]

CONVOLUTIONS = [
    {},
    {"stride": 2, "padding": 1},
    {"padding": 2, "dilation": 2, "groups": 2, "bias": False},
    {"stride": 2, "padding": 2, "dilation": 2},
    *({"padding": 1, "padding_mode": mode} for mode in ("reflect", "replicate", "circular")),
]
TRANSPOSED = [
    {},
    {"stride": 2, "padding": 1, "output_padding": 1},
    {"stride": 3, "padding": 2, "groups": 2, "bias": False},
    {"stride": 2, "dilation": 2, "padding": 1},
]
FEATURES = [(4, 5, 9), (4, 5, 8, 7), (2, 5, 3, 4, 6)]

LAYERS: list[Case] = [
    *(
        case
        for rank, shape in enumerate([(2, 4, 9), (2, 4, 8, 7), (2, 4, 6, 5, 7)], 1)
        for name, options in ((f"Conv{rank}d", CONVOLUTIONS), (f"ConvTranspose{rank}d", TRANSPOSED))
        for case in cases(name, image(*shape), args=(4, 6, 3), options=options)
    ),
    *cases(
        "Conv2d",
        image(2, 4, 8, 7),
        args=(4, 6, (3, 2)),
        options=[{"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}],
    ),
    *cases("Conv2d", image(2, 4, 8, 7), args=(4, 8, 3), options=[{"padding": 1, "groups": 4}]),
    *cases(
        "ConvTranspose2d",
        image(2, 4, 5, 4),
        args=(4, 6, (3, 2)),
        options=[{"stride": (2, 1), "padding": (1, 0), "output_padding": (1, 0)}],
    ),
    *cases("Linear", plain(2, 5, 4), args=(4, 6), options=[{}, {"bias": False}], output="plain"),
    *cases("Embedding", plain(2, 7, fill="integers"), args=(5, 3), widths=(), output="plain"),
    *(
        case
        for train in (True, False)
        for shape in [(6, 5), *FEATURES]
        for case in cases(
            "BatchNorm",
            image(*shape),
            args=(5,),
            train=train,
            options=[
                {},
                {"eps": 1e-3, "momentum": 0.3},
                {"scale": False},
                {"bias": False},
                {"scale": False, "bias": False},
            ],
        )
    ),
    *cases(
        "LayerNorm",
        plain(2, 3, 4, 5),
        args=(5,),
        output="plain",
        options=[{}, {"eps": 1e-6}, {"scale": False}, {"bias": False}],
    ),
    *cases(
        "LayerNorm",
        plain(2, 3, 4, 5),
        args=((4, 5),),
        output="plain",
        options=[{}, {"scale": False, "bias": False}],
    ),
    *(
        case
        for shape in [(2, 6), (2, 6, 9), (2, 6, 4, 5), (2, 6, 3, 4, 5)]
        for case in cases(
            "GroupNorm",
            image(*shape),
            args=(3, 6),
            widths=(1,),
            options=[{}, {"eps": 1e-3, "affine": False}],
        )
    ),
    *(
        case
        for train in (True, False)
        for shape in FEATURES
        for case in cases(
            "InstanceNorm",
            image(*shape),
            args=(5,),
            train=train,
            options=[
                {},
                {"affine": True, "eps": 1e-3},
                {"affine": True, "track_running_stats": True, "momentum": 0.3},
            ],
        )
    ),
    *cases(
        "LSTM",
        plain(2, 6, 4),
        args=(4, 3),
        output="plain",
        options=[
            {},
            {"bias": False},
            {"bidirectional": True},
            {"num_layers": 2},
            {"num_layers": 2, "bidirectional": True},
        ],
    ),
    *cases(
        "LSTM",
        plain(2, 6, 4),
        args=(4, 3),
        call={"return_state": True},
        output="plain",
        options=[{}, {"num_layers": 2, "bidirectional": True}],
    ),
    *cases(
        "MultiheadAttention",
        plain(2, 5, 8),
        args=(8, 2),
        output="plain",
        options=[{}, {"bias": False}],
    ),
    *cases("MultiheadAttention", plain(2, 5, 8), plain(2, 7, 8), args=(8, 2), output="plain"),
    *cases(
        "MultiheadAttention",
        plain(2, 5, 8),
        plain(2, 7, 8),
        plain(2, 7, 8),
        args=(8, 2),
        output="plain",
    ),
    *cases(
        "PReLU",
        image(2, 5, 4, 3, fill="ties"),
        widths=(),
        options=[{}, {"num_parameters": 5, "init": 0.1}],
    ),
]


@dataclass
class Answer:
    """What PyTorch gives: arrays by name; gradients are those of the sum of output · cotangent."""

    outputs: list[np.ndarray]
    cotangents: list[np.ndarray]
    input_grads: list[np.ndarray | None]
    state: dict[str, np.ndarray] = field(default_factory=dict)
    param_grads: dict[str, np.ndarray] = field(default_factory=dict)
    buffers: dict[str, np.ndarray] = field(default_factory=dict)


def flatten(output) -> list:
    """The arrays of an output that may be nested tuples."""
    return [x for part in output for x in flatten(part)] if isinstance(output, tuple) else [output]


def state_fill(name: str, array: Tensor) -> str:
    if name.endswith("running_var") or (name == "weight" and array.ndim < 2):
        return "positive"
    return "weight" if array.ndim > 1 else "normal"


def reference(case: Case) -> Answer:
    """The case as PyTorch computes it in float64."""
    tensors = [torch.from_numpy(array) for array in case.arrays()]
    for tensor, given in zip(tensors, case.inputs, strict=True):
        tensor.requires_grad_(given.differentiable)
    split = len(tensors) - len(case.keywords)
    call = dict(zip(case.keywords, tensors[split:], strict=True))
    state, layer = {}, None
    if case.name[0].isupper():
        layer = TORCH_LAYERS.get(case.name) or getattr(nn, case.name)
        layer = layer(*case.args, **case.options).double().train(case.train)
        state = {
            name: case.drawn(name, tuple(array.shape), state_fill(name, array))
            for name, array in layer.state_dict().items()
            if name != "num_batches_tracked"
        }
        layer.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()}, strict=False)
        output = layer(*tensors[:split], **call, **case.call)
    else:
        function = TORCH_FUNCTIONS.get(case.name) or getattr(F, case.name)
        output = function(*tensors[:split], **call, **case.options)
    outputs = flatten(output)
    cotangents = [
        case.drawn(f"cotangent.{k}", tuple(x.shape), "normal") for k, x in enumerate(outputs)
    ]
    torch.autograd.backward(outputs, [torch.from_numpy(array) for array in cotangents])
    return Answer(
        [x.detach().numpy() for x in outputs],
        cotangents,
        [None if x.grad is None else x.grad.numpy() for x in tensors],
        state,
        {name: x.grad.numpy() for name, x in (layer.named_parameters() if layer else ())},
        {name: x.numpy() for name, x in (layer.named_buffers() if layer else ()) if name in state},
    )
