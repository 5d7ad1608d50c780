"""The three trees hold the same modules, in the same places, with the same options."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import multiattn
from multiattn import catalog

ROOT = Path(multiattn.__file__).parent
TREES = ("torch", "keras", "flax")
# What only states an input's width doesn't exist in Keras; what only Flax takes is Flax's.
WIDTHS = {width for entry in catalog.entries().values() for width in entry.input_widths}
FLAX_OWN = {"dtype", "param_dtype", "rngs"}


def modules(tree: str) -> dict[str, list[str]]:
    """The classes of each file of a tree, in order, but for the ground floor."""
    return {
        str(file.relative_to(ROOT / tree)): [
            node.name for node in parsed(file).body if isinstance(node, ast.ClassDef)
        ]
        for file in sorted((ROOT / tree).rglob("*.py"))
        if "nn" not in file.relative_to(ROOT / tree).parts
    }


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


def options(cls: ast.ClassDef) -> dict[str, str | None]:
    """The options of a class with their defaults as written; the width aside."""
    for member in cls.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            arguments = member.args
            positional = arguments.args[1:]
            gap = [None] * (len(positional) - len(arguments.defaults))
            pairs = [
                *zip(positional, [*gap, *arguments.defaults], strict=True),
                *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
            ]
            return {
                one.arg: None if default is None else ast.unparse(default)
                for one, default in pairs
                if one.arg not in WIDTHS | FLAX_OWN
            }
    return {}


def classes() -> list[tuple[str, str]]:
    return [(file, name) for file, names in modules("torch").items() for name in names]


@pytest.mark.parametrize("tree", ["keras", "flax"])
def test_files_and_classes_are_the_same_in_the_same_order(tree: str) -> None:
    assert modules(tree) == modules("torch")


@pytest.mark.parametrize(("file", "name"), classes())
def test_options_and_defaults_are_the_same(file: str, name: str) -> None:
    found = {}
    for tree in TREES:
        nodes = {n.name: n for n in parsed(ROOT / tree / file).body if isinstance(n, ast.ClassDef)}
        found[tree] = options(nodes[name])
    assert list(found["keras"].items()) == list(found["torch"].items())
    assert list(found["flax"].items()) == list(found["torch"].items())


@pytest.mark.parametrize("tree", TREES)
def test_every_public_name_is_in_the_catalog_and_every_entry_is_public(tree: str) -> None:
    package = importlib.import_module(f"multiattn.{tree}")
    kinds = {entry.kind for entry in catalog.entries().values()}
    public = {
        name
        for kind in kinds
        for name in importlib.import_module(f"multiattn.{tree}.{kind}").__all__
    }
    listed = {n for entry in catalog.entries().values() for n in (entry.name, *entry.parts)}
    assert {entry.name for entry in catalog.entries().values()} <= public <= listed
    assert all(hasattr(package, name) for name in public)


@pytest.mark.parametrize("tree", TREES)
def test_create_knows_aliases_and_names_what_comes_near(tree: str) -> None:
    package = importlib.import_module(f"multiattn.{tree}")
    assert type(package.create("simam_module")).__name__ == "SimAM"
    with pytest.raises(ValueError, match="did you mean CoordAttention"):
        package.create("CordAttention")


# Attributes that would hide one of a framework's own, silently or late. On Keras's torch backend
# a layer is a torch module too.
KERAS = set(
    "compute_dtype dtype input input_dtype losses metrics metrics_variables output path "
    "non_trainable_variables non_trainable_weights quantization_mode trainable_variables "
    "trainable_weights variable_dtype variables weights name trainable built dtype_policy "
    "input_spec activity_regularizer supports_masking call build setup autocast supports_jit "
    "add_weight get_config quantize count_params compute_mask add_loss add_metric".split()
)
TORCH = set(
    "train eval half float double bfloat16 to cpu cuda type apply forward modules children "
    "parameters buffers compile state_dict requires_grad_ register_buffer get_parameter "
    "share_memory extra_repr T_destination training input output named_modules hooks".split()
)
FLAX = set(
    "eval train sow perturb set_attributes iter_modules iter_children deterministic "
    "use_running_average".split()
)
RESERVED = KERAS | TORCH | FLAX


def attributes() -> Iterator[tuple[str, str]]:
    """The names that the modules set on self; the ground floors reconcile frameworks and may."""
    for tree in TREES:
        for path in modules(tree):
            file = ROOT / tree / path
            for node in ast.walk(parsed(file)):
                if (
                    isinstance(node, ast.Attribute)
                    and isinstance(node.ctx, ast.Store)
                    and isinstance(node.value, ast.Name)
                    and node.value.id == "self"
                ):
                    yield f"{tree}/{file.name}", node.attr


def test_no_attribute_hides_a_frameworks_own() -> None:
    assert [(file, name) for file, name in attributes() if name in RESERVED - {"dtype"}] == []
    assert {file.split("/")[0] for file, name in attributes() if name == "dtype"} == {"flax"}


def test_the_reserved_names_are_what_the_frameworks_have() -> None:
    import keras
    import torch
    from flax import nnx

    own = {n for cls in (keras.layers.Layer, torch.nn.Module, nnx.Module) for n in dir(cls)}
    assert {name for _, name in attributes()} & own <= {"dtype"}


def test_no_state_of_a_case_has_a_reserved_name() -> None:
    from multiattn.verify.cases import DEFAULT_FOLDER, read_cases

    names = {
        part for case in read_cases(DEFAULT_FOLDER) for n in case.state for part in n.split(".")
    }
    assert names & RESERVED == set()
