"""The demo: three frameworks agree on one file of weights, and a departure doesn't pass."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from multiattn import demo

LOGITS = np.random.RandomState(0).standard_normal((50, 10)).astype("float32")


def test_all_frameworks_agree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    console = Console(file=io.StringIO(), width=120)
    folder = Path("a/demo")
    assert demo.run(folder, epochs=1, console=console), console.file.getvalue()
    assert {"conv1.weight", "attention.bn1.running_var", "head.bias"} <= set(
        load_file(folder / "digits.safetensors")
    )
    assert (folder / "attention.png").read_bytes().startswith(b"\x89PNG")
    printed = console.file.getvalue()
    for framework in ("PyTorch", "Keras", "Flax"):
        assert f"│ {framework}" in printed


def test_equal_logits_agree():
    assert demo.disagreements({"PyTorch": LOGITS, "Keras": LOGITS, "Flax": LOGITS + 5e-5}) == []


@pytest.mark.parametrize("fault", [2e-4, np.nan])
def test_a_departure_is_reported(fault):
    departed = LOGITS.copy()
    departed[7, LOGITS[7].argmin()] += fault
    faults = demo.disagreements({"PyTorch": LOGITS, "Keras": departed, "Flax": LOGITS})
    assert f"Keras's logits depart from PyTorch's by {fault:.1e}." in faults
    assert all(sentence.startswith("Keras") for sentence in faults)


def test_other_answers_are_reported():
    flipped = LOGITS.copy()
    flipped[:3] *= -1
    faults = demo.disagreements({"PyTorch": LOGITS, "Keras": LOGITS, "Flax": flipped})
    assert faults[0] == "Flax answers 3 of 50 otherwise than PyTorch."


def test_what_is_missing_is_named_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "NEEDED", ("numpy", "no_such_package"))
    with pytest.raises(ImportError) as error:
        demo.run(tmp_path)
    expected = 'the demo needs no_such_package: pip install "multiattn[demo]"'
    assert str(error.value) == expected
