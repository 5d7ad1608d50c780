"""What importing the package imports, and what a missing framework says."""

import subprocess
import sys

import pytest

FRAMEWORKS = ("torch", "keras", "tensorflow", "jax", "flax")


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("multiattn", "sys"),
        ("multiattn.cli", "sys"),
        ("multiattn.verify.referee", "sys"),
        ("multiattn.torch", "torch"),
        ("multiattn.flax", "flax"),
        ("multiattn.keras", "keras"),
    ],
)
def test_a_module_imports_what_its_framework_does_and_no_other(module: str, allowed: str) -> None:
    def imported(name: str) -> set[str]:
        code = f"import sys, {name}; print(*({{*{FRAMEWORKS}}} & sys.modules.keys()))"
        result = run(code, KERAS_BACKEND="tensorflow")
        assert result.returncode == 0, result.stderr
        return set(result.stdout.split())

    assert imported(module) == imported(allowed)


@pytest.mark.parametrize("framework", ["torch", "keras", "flax"])
def test_a_missing_framework_names_its_extra_in_one_line(framework: str) -> None:
    code = f"""
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {framework!r} else find(name, *rest)
try:
    import multiattn.{framework}
except ImportError as error:
    print(error)
"""
    expected = f'{framework} is not installed: pip install "multiattn[{framework}]"\n'
    assert run(code).stdout == expected
