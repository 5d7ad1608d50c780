"""Makes the stubs of a new module: a file in each tree, its lines in the lists, a catalog entry.

    python tools/new_module.py CoordAttention --kind spatial

Then fill in what is marked by an ellipsis, and put the original's figures into
conformance/cases/CoordAttention.json.
"""

import argparse
import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "multiattn"

DOC = '''    """...: what it computes, in a line.

    "...", ... et al., ... .

    Args:
{args}        option: ...

    Shape: {shape} -> {shape}
    """
'''

STUBS = {
    "torch": """import torch
from torch import Tensor, nn

from multiattn import checks


class {name}(nn.Module):
{doc}
    def __init__(self, channels: int, *, option: int = ...):
        super().__init__()
        checks.positive(self, channels=channels, option=option)
        ...

    def forward(self, x: Tensor) -> Tensor: ...
""",
    "keras": """from keras import ops

from multiattn import checks
from multiattn.keras import nn


class {name}(nn.Module):
{doc}
    def __init__(self, *, option: int = ..., **kwargs):
        super().__init__(**kwargs)
        checks.positive(self, option=option)
        self.option = option

    def setup(self, shape):
        channels = shape[-1]
        ...

    def call(self, x, training=None): ...
""",
    "flax": """import jax
import jax.numpy as jnp
from flax import nnx

from multiattn import checks
from multiattn.flax import nn


class {name}(nnx.Module):
{doc}
    def __init__(
        self,
        channels: int,
        *,
        option: int = ...,
        dtype=None,
        param_dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.positive(self, channels=channels, option=option)
        self.dtype = dtype
        layer = {{"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}}
        ...

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.promote(self.dtype, x)
        ...
""",
}

ENTRY = """
[{name}]
title = "..."
venue = "..."
arxiv = "..."
summary = "..."
source = "..."
licence = "..."
aliases = []
"""


def snake_case(name: str) -> str:
    """CoordAttention -> coord_attention, GCBlock -> gc_block."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def export(listing: Path, module: str, name: str) -> None:
    """Adds an import and a public name to a kind's ``__init__.py``, both in order."""
    text = listing.read_text("utf-8") if listing.exists() else ""
    body = ast.parse(text).body
    names = {name}
    imports = {f"from {module} import {name}"}
    for node in body:
        if isinstance(node, ast.ImportFrom):
            imports.add(ast.get_source_segment(text, node) or "")
            names |= {alias.name for alias in node.names}
    public = "".join(f'    "{one}",\n' for one in sorted(names))
    listing.write_text("\n".join(sorted(imports)) + f"\n\n__all__ = [\n{public}]\n", "utf-8")


def announce(tree_listing: Path, line: str) -> None:
    """Adds a new kind's star import to a tree's ``__init__.py``, in order."""
    lines = tree_listing.read_text("utf-8").splitlines()
    stars = [one for one in lines if one.endswith(" import *")]
    first = lines.index(stars[0])
    lines[first : first + len(stars)] = sorted([*stars, line])
    tree_listing.write_text("\n".join(lines) + "\n", "utf-8")


def make(name: str, kind: str, file: str | None = None, package: Path = PACKAGE) -> None:
    """Writes the stubs.

    Args:
        name: the class's name.
        kind: the folder.
        file: the file's name; None derives it from the class's.
        package: where the trees are.

    Raises:
        FileExistsError: a file of the module is there already; nothing is written.
    """
    stem = file or snake_case(name)
    paths = {tree: package / tree / kind / f"{stem}.py" for tree in STUBS}
    if existing := [str(path) for path in paths.values() if path.exists()]:
        raise FileExistsError(", ".join(existing))
    for tree, path in paths.items():
        path.parent.mkdir(exist_ok=True)
        shape = "(N, C, H, W)" if tree == "torch" else "(N, H, W, C)"
        args = (
            ""
            if tree == "keras"
            else "        channels: channels of the input, and of the output.\n"
        )
        doc = DOC.format(args=args, shape=shape)
        path.write_text(STUBS[tree].format(name=name, doc=doc), "utf-8")
        listing = path.parent / "__init__.py"
        if not listing.exists():
            announce(package / tree / "__init__.py", f"from multiattn.{tree}.{kind} import *")
        export(listing, f"multiattn.{tree}.{kind}.{stem}", name)
    with (package / "catalog" / f"{kind}.toml").open("a", encoding="utf-8") as entries:
        entries.write(ENTRY.format(name=name))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="the class's name")
    parser.add_argument("--kind", required=True, help="the folder: channel, spatial, ...")
    parser.add_argument("--file", help="the file's name; derived from the class's by default")
    arguments = parser.parse_args()
    make(arguments.name, arguments.kind, arguments.file)
