"""The conformance suite as pytest sees it: a test for each module in each runtime.

PyTorch, Keras on TensorFlow and Flax play every case, Keras on JAX and on PyTorch the first case of
each module; ``multiattn verify`` plays all of them everywhere.
"""

import json
from pathlib import Path

import jsonschema
import pytest

from multiattn.verify.cases import DEFAULT_FOLDER, read_cases
from multiattn.verify.checks import LEVELS
from multiattn.verify.referee import Verdict, verify
from multiattn.verify.remote import RUNTIMES

BRIEF = ("keras-jax", "keras-torch")
CASES = list(read_cases(DEFAULT_FOLDER))
MODULES = list(dict.fromkeys(case.module for case in CASES))
SCHEMA = json.loads((Path(__file__).parent / "case.schema.json").read_text("utf-8"))


@pytest.fixture(scope="session")
def verdict() -> Verdict:
    return verify(CASES, brief=BRIEF)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("module", MODULES)
def test_module_is_the_original(module: str, runtime: str, verdict: Verdict) -> None:
    mine = [r for r in verdict.results if (r.module, r.runtime) == (module, runtime)]
    played = {(result.case, result.level) for result in mine}
    cases = [case.id for case in CASES if case.module == module]
    expected = cases[:1] if runtime in BRIEF else cases
    assert played == {(case, level) for case in expected for level in LEVELS}
    assert [result.describe() for result in mine if result.passed is False] == []


@pytest.mark.parametrize("file", sorted(DEFAULT_FOLDER.glob("*.json")), ids=lambda file: file.stem)
def test_case_file_has_the_form(file: Path) -> None:
    content = json.loads(file.read_text("utf-8"))
    jsonschema.validate(content, SCHEMA)
    ids = [case["id"] for case in content["cases"]]
    assert content["module"] == file.stem
    assert len(set(ids)) == len(ids)
