"""The stubs of a new module go where the module must be, and touch nothing else."""

import ast
import importlib.util
import shutil
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("new_module", ROOT / "tools" / "new_module.py")
new_module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(new_module)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    shutil.copytree(
        ROOT / "multiattn", tmp_path / "multiattn", ignore=shutil.ignore_patterns("*.pyc")
    )
    return tmp_path / "multiattn"


def contents(package: Path) -> dict[str, str]:
    files = [f for f in package.rglob("*") if f.suffix in (".py", ".toml")]
    return {str(f.relative_to(package)): f.read_text("utf-8") for f in files}


def test_stubs_are_made_in_three_trees_and_a_catalog_entry(package: Path) -> None:
    before = contents(package)
    new_module.make("FancyAttention", "spatial", package=package)
    after = contents(package)
    changed = {name for name in after if before.get(name) != after[name]}
    assert changed == {
        "catalog/spatial.toml",
        *(f"{tree}/spatial/fancy_attention.py" for tree in ("torch", "keras", "flax")),
        *(f"{tree}/spatial/__init__.py" for tree in ("torch", "keras", "flax")),
    }
    assert tomllib.loads(after["catalog/spatial.toml"])["FancyAttention"]["venue"] == "..."
    for tree in ("torch", "keras", "flax"):
        ast.parse(after[f"{tree}/spatial/fancy_attention.py"])
        listing = after[f"{tree}/spatial/__init__.py"]
        added = set(listing.splitlines()) - set(before[f"{tree}/spatial/__init__.py"].splitlines())
        assert added == {
            f"from multiattn.{tree}.spatial.fancy_attention import FancyAttention",
            '    "FancyAttention",',
        }


def test_a_module_that_exists_is_not_overwritten(package: Path) -> None:
    before = contents(package)
    with pytest.raises(FileExistsError, match=r"cbam\.py"):
        new_module.make("CBAM", "spatial", package=package)
    assert contents(package) == before


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("CoordAttention", "coord_attention"),
        ("GCBlock", "gc_block"),
        ("ECA", "eca"),
        ("LSTM2D", "lstm2_d"),
    ],
)
def test_files_are_named_as_their_class(name: str, file: str) -> None:
    assert new_module.snake_case(name) == file
