"""The command line: what it prints, what it writes, and how it fails."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from multiattn import load_weights, options, save_weights, state_dict
from multiattn.catalog import info
from multiattn.cli import app
from multiattn.torch import CBAM, CoordAttention, SqueezeExcitation, create
from multiattn.verify.cases import DEFAULT_FOLDER, read_cases
from multiattn.weights import files


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return re.sub(r"\s+", " ", result.output)


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


def test_list_finds_by_name_alias_and_kind() -> None:
    assert "CoordAttention" in run("list")
    assert "SqueezeExcitation" in run("list", "SELayer")
    assert "CBAM" not in run("list", "--kind", "channel")
    assert "no module matches" in run("list", "nothing-like-it", code=1)


def test_info_tells_options_and_counts_parameters() -> None:
    text = run("info", "coordatt", "--channels", 64)
    assert "Coordinate Attention for Efficient Mobile Network Design, CVPR 2021" in text
    assert "reduction: int=32" in text
    expected = sum(array.size for array in state_dict(CoordAttention(64)).values())
    assert f"parameters {expected:,}" in text
    assert "did you mean" in run("info", "CordAttention", code=1)
    assert "channels" in run("info", "CBAM", "--channels", 4, code=1)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth", ".weights.h5"])
def test_port_writes_every_format(suffix: str, tmp_path: Path) -> None:
    module = CoordAttention(64)
    source, target = tmp_path / "coordatt.pth", tmp_path / f"out{suffix}"
    torch.save(module.state_dict(), source)
    text = run("port", source, target, "--module", "CoordAttention", "--channels", 64)
    assert "CoordAttention(channels=64)" in text
    fresh = CoordAttention(64)
    load_weights(fresh, target)
    assert same(state_dict(module), state_dict(fresh))


def test_port_writes_a_keras_model_that_opens(tmp_path: Path) -> None:
    import keras

    module = CoordAttention(24).eval()
    save_weights(module, tmp_path / "a.safetensors")
    run("port", tmp_path / "a.safetensors", tmp_path / "a.keras", "--module", "CoordAttention")
    model = keras.saving.load_model(tmp_path / "a.keras")
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 24)).astype("float32")
    expected = module(torch.tensor(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).detach().numpy()
    actual = keras.ops.convert_to_numpy(model(x, training=False))
    assert np.abs(actual - expected).max() < 1e-5


def test_port_keeps_the_dtype_of_the_file(tmp_path: Path) -> None:
    save_weights(CBAM(32).to(torch.bfloat16), tmp_path / "a.safetensors")
    run("port", tmp_path / "a.safetensors", tmp_path / "b.npz", "--module", "CBAM")
    state, _ = files.read(tmp_path / "b.npz")
    assert {str(array.dtype) for array in state.values()} == {"bfloat16"}


def test_port_takes_names_of_the_original(tmp_path: Path) -> None:
    case = next(read_cases(DEFAULT_FOLDER, ["BAM"]))
    files.write(tmp_path / "bam.npz", case.state)
    run("port", tmp_path / "bam.npz", tmp_path / "bam.safetensors", "--module", "BAM")
    state, _ = files.read(tmp_path / "bam.safetensors")
    assert "channel_gate.fc_0.weight" in state


# What the shapes in a file don't tell, by the names of options: where a size is used up in products
# or sums, or several options give the same shapes.
UNTOLD = {
    "ASFF": ("level",),
    "CondConv": ("out_channels",),
    "OctaveConv": ("in_channels", "out_channels", "padding"),
}
CASES = {case.module: case for case in reversed(list(read_cases(DEFAULT_FOLDER)))}
WITH_STATE = sorted(n for n, c in CASES.items() if c.state and info(c.cls).kind != "backbones")


@pytest.mark.parametrize("module", WITH_STATE)
def test_options_are_found_from_shapes(module: str) -> None:
    """Under the options found, the module holds exactly what the file does.

    Words and lists, and the size that a module is bound to, have to be given.
    """
    case, entry = CASES[module], info(module)
    given = {
        name: value
        for name, value in case.options.items()
        if isinstance(value, (str, list)) or name in (*entry.input_sizes, *UNTOLD.get(module, ()))
    }
    found = options.infer(entry, given, case.state)
    shapes = {name: a.shape for name, a in state_dict(create(module, **found)).items()}
    expected = {name: a.shape for name, a in state_dict(create(module, **case.options)).items()}
    assert shapes == expected


def hostile(tmp_path: Path) -> dict[str, Path]:
    module = SqueezeExcitation(32)
    save_weights(module, tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    made = {
        "truncated": whole[:-7],
        "wrong magic": b"\xff" * 8 + whole[8:],
        "header larger than the file": (1 << 40).to_bytes(8, "little") + whole[8:],
        "empty": b"",
    }
    for name, content in made.items():
        (tmp_path / f"{name}.safetensors").write_bytes(content)
    return {name: tmp_path / f"{name}.safetensors" for name in made}


def test_port_of_a_broken_file_is_one_error_and_writes_nothing(tmp_path: Path) -> None:
    for path in hostile(tmp_path).values():
        text = run("port", path, tmp_path / "out.npz", "--module", "SqueezeExcitation", code=1)
        assert text.startswith("error: ")
        assert path.name in text
        assert not (tmp_path / "out.npz").exists()


def test_port_of_other_weights_says_what_does_not_fit_and_writes_nothing(tmp_path: Path) -> None:
    save_weights(CBAM(32), tmp_path / "cbam.safetensors")
    out = tmp_path / "out.safetensors"
    text = run("port", tmp_path / "cbam.safetensors", out, "--module", "ECA", code=1)
    assert "do not fit" in text
    assert not out.exists()
    assert "suffix" in run(
        "port", tmp_path / "cbam.safetensors", tmp_path / "x.foo", "--module", "CBAM", code=1
    )
    assert "no module" in run(
        "port", tmp_path / "cbam.safetensors", out, "--module", "Nothing", code=1
    )


def test_verify_prints_a_table_and_writes_the_report(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    text = run("verify", "SimAM", "--runtime", "torch", "--level", "original", "--json", report)
    assert "SimAM torch" in text
    assert "passed, 0 failed" in text
    results = json.loads(report.read_text("utf-8"))["results"]
    assert {one["level"] for one in results} == {"original"}
    assert all(one["error"] < 1e-9 for one in results)


def test_verify_fails_on_figures_that_are_not_ours(tmp_path: Path) -> None:
    content = json.loads((DEFAULT_FOLDER / "SimAM.json").read_text("utf-8"))
    content["cases"][0]["expected"]["eval"][0]["sample"][3] += 1e-6
    (tmp_path / "SimAM.json").write_text(json.dumps(content), "utf-8")
    text = run("verify", "--runtime", "torch", "--level", "original", "--cases", tmp_path, code=1)
    assert "SimAM/default on torch: original" in text


def test_verify_of_nothing_is_no_success(tmp_path: Path) -> None:
    assert "no cases" in run("verify", "--cases", tmp_path, code=1)
    assert "is not one of" in run("verify", "--runtime", "theano", code=1)
