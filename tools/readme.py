"""Writes what the README derives: the table of modules, and the figures of a verify report.

python tools/readme.py                          # the modules, from the catalog
multiattn verify --json report.json
python tools/readme.py --report report.json     # also the figures
"""

import argparse
import json
import re
from pathlib import Path

from multiattn import catalog

README = Path(__file__).parents[1] / "README.md"

# Row of the figures -> what the report's checks must be called.
FIGURES = {
    "outputs in evaluation mode, float64": (1e-9, {("original", "eval")}),
    "outputs and statistics in training mode, float64": (
        1e-9,
        {("training", "train"), ("training", "buffers")},
    ),
    "gradients, float64": (1e-9, {("gradients", "input_grads"), ("gradients", "param_grads")}),
    "outputs and statistics, float32": (
        1e-5,
        {("single", "eval"), ("single", "train"), ("single", "buffers")},
    ),
    "gradients, float32": (1e-4, {("single", "input_grads"), ("single", "param_grads")}),
}


def modules() -> str:
    """The modules by kind, as Markdown."""
    lines = ["| module | what it does | paper | also called |", "|---|---|---|---|"]
    for entry in sorted(catalog.entries().values(), key=lambda one: (one.kind, one.name)):
        paper = (
            f"[{entry.venue}](https://arxiv.org/abs/{entry.arxiv})" if entry.arxiv else entry.venue
        )
        aliases = ", ".join(entry.aliases)
        lines.append(f"| `{entry.name}` | {entry.summary} | {paper} | {aliases} |")
    return "\n".join(lines) + "\n"


def figures(results: list[dict]) -> str:
    """The largest error of each kind in a report, and where float32 was beyond its limit."""
    lines = ["| | limit | largest error | where |", "|---|---|---|---|"]
    for title, (limit, checks) in FIGURES.items():
        mine = [r for r in results if (r["level"], r["what"]) in checks and r["error"] is not None]
        worst = max(mine, key=lambda r: r["error"])
        where = f"{worst['module']}, {worst['runtime']}"
        lines.append(f"| {title} | {limit:.0e} | {worst['error']:.1e} | {where} |")
    return "\n".join(lines) + "\n"


def put(text: str, section: str, content: str) -> str:
    """The text with what stands between a section's marks replaced."""
    between = re.compile(rf"(<!-- {section} -->\n).*?(<!-- /{section} -->)", re.DOTALL)
    return between.sub(lambda match: match[1] + content + match[2], text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", type=Path, help="a report of multiattn verify --json")
    arguments = parser.parse_args()
    text = put(README.read_text("utf-8"), "modules", modules())
    if arguments.report:
        report = json.loads(arguments.report.read_text("utf-8"))
        text = put(text, "figures", figures(report["results"]))
    README.write_text(text, "utf-8")
