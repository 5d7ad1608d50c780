"""Canonical state: what is found, what loads, and what is refused with nothing loaded."""

import copy

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn

import multiattn
from multiattn import LoadError, Report, load_state_dict, state_dict
from multiattn.torch import CBAM, CoordAttention
from multiattn.weights.state import fits
from multiattn.weights.walk import natural


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), CoordAttention(16), nn.Flatten(), nn.Linear(64, 4)
    )


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


def test_state_is_learned_tensors_and_running_statistics_in_natural_order() -> None:
    names = list(state_dict(network()))
    assert "1.running_var" in names
    assert not any("num_batches_tracked" in name for name in names)
    assert names == sorted(names, key=natural)
    assert sorted(["10.a", "9.a", "a.2", "a.10"], key=natural) == ["9.a", "10.a", "a.2", "a.10"]


def test_state_is_a_copy() -> None:
    module = nn.Linear(2, 2)
    state_dict(module)["weight"][:] = 7
    assert not (state_dict(module)["weight"] == 7).any()


def test_other_objects_are_refused() -> None:
    with pytest.raises(TypeError, match=r"torch\.nn\.Module, keras\.layers\.Layer or flax"):
        state_dict({"weight": np.zeros(3)})


def test_a_load_reports_and_fills() -> None:
    source, target = network(), network()
    report = load_state_dict(target, state_dict(source))
    assert isinstance(report, Report)
    assert report.complete
    assert len(report.loaded) == len(state_dict(source))
    assert equal(state_dict(source), state_dict(target))


def broken(**changes: np.ndarray | None) -> dict:
    state = state_dict(network())
    for name, array in changes.items():
        name = name.replace("__", ".")
        state.pop(name, None) if array is None else state.__setitem__(name, array)
    return state


NO = np.zeros((5, 5))


@pytest.mark.parametrize(
    ("state", "field", "word"),
    [
        (broken(**{"0__weight": None}), "missing", "0.weight"),
        (broken(stranger=NO), "unexpected", "stranger"),
        (broken(**{"0__weight": NO}), "wrong_shape", "(5, 5)"),
        (broken(**{"0__bias": np.full(16, 1e300)}), "refused", "too large"),
        (broken(**{"0__bias": np.full(16, "x")}), "refused", "dtype"),
        (broken(**{"0__bias": np.full(16, 1j)}), "refused", "dtype"),
        (broken(**{"0__bias": np.array([None] * 16)}), "refused", "dtype"),
    ],
)
def test_what_does_not_fit_is_an_error_that_says_so_and_loads_nothing(state, field, word) -> None:
    target = network()
    before = state_dict(target)
    with pytest.raises(LoadError) as caught:
        load_state_dict(target, state)
    assert getattr(caught.value.report, field)
    assert word in str(caught.value)
    assert equal(before, state_dict(target))


def test_without_strict_missing_and_unexpected_are_reported_but_shapes_still_fail() -> None:
    target = network()
    report = load_state_dict(target, broken(**{"0__weight": None, "x": NO}), strict=False)
    assert report.missing == ["0.weight"]
    assert report.unexpected == ["x"]
    with pytest.raises(LoadError, match="wrong shape"):
        load_state_dict(target, broken(**{"0__weight": NO}), strict=False)


def test_a_prefix_takes_a_part() -> None:
    source, target = network(), CoordAttention(16)
    load_state_dict(target, state_dict(source), prefix="2.")
    assert equal(state_dict(source[2]), state_dict(target))


def test_rename_runs_in_order_and_none_passes_over() -> None:
    source = nn.ModuleDict({"stem": nn.Linear(2, 3), "aux": nn.Linear(1, 1)})
    target = nn.ModuleDict({"head": nn.Linear(2, 3)})
    rename = {r"^stem\.": "body.", r"^body\.": "head.", r"^aux\.": None}
    report = load_state_dict(target, state_dict(source), rename=rename)
    assert report.passed_over == ["aux.bias", "aux.weight"]
    assert report.renamed == {"stem.bias": "head.bias", "stem.weight": "head.weight"}
    assert equal(state_dict(source["stem"]), state_dict(target["head"]))


@pytest.mark.parametrize("wrapping", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_wrappings_of_names_are_undone_and_noted(wrapping: str) -> None:
    source, target = CBAM(32), CBAM(32)
    state = {wrapping + name: array for name, array in state_dict(source).items()}
    report = load_state_dict(target, state)
    assert "wrapping" in report.notes[0]
    assert equal(state_dict(source), state_dict(target))


def test_wrapped_networks_are_looked_through() -> None:
    module = CBAM(32)
    averaged = torch.optim.swa_utils.AveragedModel(module)
    for wrapped in (nn.DataParallel(module), averaged, torch.compile(module)):
        assert equal(state_dict(wrapped), state_dict(module))


def test_a_shared_layer_is_one_and_a_file_may_repeat_it() -> None:
    shared = nn.Linear(3, 3)
    module = nn.ModuleDict({"z": shared, "a": shared})
    assert list(state_dict(module)) == ["a.bias", "a.weight"]
    both = {**state_dict(module), "z.weight": state_dict(module)["a.weight"]}
    assert load_state_dict(module, both).complete
    with pytest.raises(LoadError, match="another value"):
        load_state_dict(module, {**both, "z.weight": both["a.weight"] + 1})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_narrow_dtypes_keep_their_bits(dtype: torch.dtype) -> None:
    source = CBAM(32).to(dtype)
    state = state_dict(source)
    expected = ml_dtypes.bfloat16 if dtype == torch.bfloat16 else str(dtype).split(".")[1]
    assert {array.dtype for array in state.values()} == {np.dtype(expected)}
    target = CBAM(32).to(dtype)
    load_state_dict(target, state)
    assert all(
        torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True)
    )


def test_a_checkpoint_of_a_wider_dtype_is_rounded() -> None:
    target = nn.Linear(2, 2, dtype=torch.float16)
    load_state_dict(target, {"weight": np.full((2, 2), 0.1), "bias": np.zeros(2)})
    assert target.weight.dtype == torch.float16


@pytest.mark.parametrize(
    ("source", "target", "fit"),
    [
        ((4, 8), (4, 8, 1, 1), True),
        ((4, 8, 1, 1), (4, 8), True),
        ((4, 8, 1), (4, 8, 1, 1), True),
        ((1, 8, 1, 1), (8,), True),
        ((8,), (1, 8, 1, 1), True),
        ((1, 8), (8, 1), False),
        ((8, 1), (8,), False),
        ((4, 8, 3, 3), (4, 8, 9), False),
        ((2, 4), (4, 2), False),
        ((), (1,), False),
    ],
)
def test_unit_axes_come_and_go_behind_the_second(source, target, fit) -> None:
    assert fits(source, target) is fit


def test_the_report_prints_as_a_table() -> None:
    report = Report(loaded=["a"], missing=[f"m{i}" for i in range(14)], renamed={"x": "a"})
    text = str(report)
    assert text.splitlines()[0].split() == ["loaded", "1", "of", "15"]
    assert "... and 2 more" in text
    assert "x -> a" in text


def test_saving_and_loading_by_suffix(tmp_path) -> None:
    source = network()
    for suffix in (".safetensors", ".pth", ".pt", ".npz", ".weights.h5"):
        path = tmp_path / f"net{suffix}"
        multiattn.save_weights(source, path)
        target = copy.deepcopy(source)
        nn.init.zeros_(target[0].weight)
        assert multiattn.load_weights(target, path).complete
        assert equal(state_dict(source), state_dict(target))
