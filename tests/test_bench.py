"""The bench: what it measures, and how it fails; the transcriptions that benchmarks compare."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from benchmarks import paired, table
from benchmarks.suites.attention import agreeing
from benchmarks.transcriptions import MODULES
from multiattn import bench
from multiattn.bench import measure, worker
from multiattn.cli import app
from multiattn.torch import CBAM


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["bench", *(str(word) for word in words)])
    assert result.exit_code == code, result.output
    return re.sub(r"\s+", " ", result.output)


def test_a_module_is_measured_in_its_runtimes(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    small = ("--channels", 32, "--size", 8, "--batch", 2, "--seconds", 0.01)
    text = run("CBAM", *small, "--runtime", "torch", "--runtime", "flax", "--json", file)
    assert "CBAM(channels=32) on 32×8×8, batch 2" in text
    figures = json.loads(file.read_text("utf-8"))
    assert figures["inputs"] == [{"axes": "NCHW", "shape": [2, 32, 8, 8]}]
    # Two linear layers on two poolings, and a 7x7 convolution of two planes to one.
    assert figures["multiply_adds"] == 2 * (32 * 2 + 2 * 32) + 8 * 8 * 2 * 49
    expected = sum(parameter.numel() for parameter in CBAM(32).parameters())
    for runtime in ("torch", "flax"):
        one = figures["runtimes"][runtime]
        assert one["parameters"] == expected
        for call in ("forward", "forward_backward"):
            lower, upper = one[call]["quartiles_ms"]
            assert 0 < lower <= one[call]["median_ms"] <= upper
            assert one[call]["repeats"] >= 5
            assert one[call]["peak_bytes"] >= 0


def test_what_does_not_exist_is_one_error() -> None:
    assert "did you mean CBAM" in run("CBAN", code=1)
    assert "CBAM has no option 'channel'; did you mean channels?" in run(
        "CBAM", "--channel", 64, code=1
    )
    assert "'theano' is not one of" in run("CBAM", "--runtime", "theano", code=1)
    assert "is not of the form" in run("CBAM", "--size", "large", code=1)
    assert "does not suit" in run("CBAM", "--size", "1x2x3x4x5", code=1)
    assert "takes 1 inputs, not 2" in run("CBAM", "--size", 8, "--size", 9, code=1)


def test_an_option_that_the_module_refuses_is_one_error() -> None:
    text = run("CBAM", "--channels", 4, "--runtime", "torch", code=1)
    assert text == "error: CBAMChannelGate: reduction (16) must not exceed channels (4) "


def test_a_missing_framework_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "missing", lambda runtime: [runtime])
    text = run("CBAM", "--runtime", "flax", "--runtime", "torch", code=1)
    assert "flax not installed" in text
    assert "torch not installed" in text


def test_a_failing_runtime_is_a_row_and_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(request: bench.Request, runtime: str) -> bench.Costs:
        raise bench.RuntimeFailure(runtime, "out of memory", "MemoryError", "line 7")

    monkeypatch.setattr(measure, "measure", fail)
    text = run("CBAM", "--runtime", "torch", "--runtime", "flax", code=1)
    assert "torch failed" in text
    assert "flax: MemoryError: out of memory line 7" in text


def planned(name: str, *sizes: str, **options: object) -> tuple[list[list[int]], dict]:
    request = bench.plan(name, options, sizes)
    return [list(shape) for shape in request.shapes], dict(request.options)


def test_usual_options_and_sizes_are_filled_in() -> None:
    assert planned("CBAM") == ([[8, 64, 56, 56]], {"channels": 64})
    assert planned("CBAM", channels=32) == ([[8, 32, 56, 56]], {"channels": 32})
    assert planned("SimAM", "14") == ([[8, 64, 14, 14]], {})
    shapes = [[8, 64, 14, 14], [8, 64], [8, 64]]
    assert planned("DenseImplicitAttention", "14") == (shapes, {"channels": 64})
    assert planned("DoubleAttention", "14")[1] == {"channels": 64, "c_m": 32, "c_n": 32}
    assert planned("OmniDimensionalDynamicConv")[1] == {
        "in_channels": 64,
        "out_channels": 64,
        "kernel_size": 3,
    }


def test_a_size_may_give_the_width() -> None:
    assert planned("CBAM", "128x7x9") == ([[8, 128, 7, 9]], {"channels": 128})
    shapes, options = planned("ASFF", "16x4x4", "12x8x8", "10x16x16", level=0)
    assert shapes == [[8, 16, 4, 4], [8, 12, 8, 8], [8, 10, 16, 16]]
    assert options == {"level": 0, "in_channels": [16, 12, 10]}


def test_several_inputs_have_their_own_widths() -> None:
    shapes, _ = planned("ASFF", "4", "8", "16", level=0)
    assert shapes == [[8, 512, 4, 4], [8, 256, 8, 8], [8, 256, 16, 16]]


@pytest.mark.parametrize("megabytes", [8, 64])
def test_peak_memory_is_that_of_the_call(megabytes: int) -> None:
    highest = worker.process_peak(lambda: np.ones(megabytes << 20, np.uint8).sum())
    assert abs(highest / (1 << 20) - megabytes) < 4


@pytest.mark.parametrize("name", MODULES)
def test_a_transcription_computes_what_our_module_does(name: str) -> None:
    ours, plain = agreeing(name, 64)
    x = torch.randn(3, 64, 9, 7)
    for mode in (True, False):
        actual, expected = ours.train(mode)(x), plain.train(mode)(x)
        assert paired.departure(actual.detach(), expected.detach()) < 1e-4


def test_the_slower_of_two_has_the_larger_ratio() -> None:
    array = np.ones(200_000)
    figures = paired.compare(lambda: [array.sum() for _ in range(8)], lambda: array.sum(), 0.1)
    assert figures["ratio"] > 4
    assert figures["rounds"] >= 7


def test_tables_are_written_between_their_marks(tmp_path: Path) -> None:
    figures = {"ratio": 0.9, "quartiles": [0.88, 0.93], "ours_ms": 12.3, "peer_ms": 13.7}
    row = {"ours": "resnet50", "peer": "timm resnet50", "departure": 3e-7}
    row |= {"forward": figures, "forward_backward": figures}
    absent = {"ours": "swin", "peer": "timm swin", "absent": "there is no module 'swin'"}
    machine = {"processor": "a processor", "threads": 2, "versions": {"torch": "2.13"}}
    results = {"torch": {"machine": machine, "rows": [row, absent]}}
    (tmp_path / "results.json").write_text(json.dumps(results), "utf-8")
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- torch -->\nold\n<!-- /torch -->\nafter\n", "utf-8")
    table.write(tmp_path / "results.json", readme)
    text = readme.read_text("utf-8")
    assert "| `resnet50` | timm resnet50 | **0.90** (0.88 to 0.93) |" in text
    assert "old" not in text
    assert "swin" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
