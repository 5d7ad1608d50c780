"""Writes the table of modules in the README from the catalog: python tools/readme.py"""

import re
from pathlib import Path

from multiattn import catalog

README = Path(__file__).parents[1] / "README.md"
BETWEEN = re.compile(r"(<!-- modules -->\n).*?(<!-- /modules -->)", re.DOTALL)


def table() -> str:
    """The modules by kind, as Markdown."""
    lines = ["| module | what it does | paper | also called |", "|---|---|---|---|"]
    for entry in sorted(catalog.entries().values(), key=lambda one: (one.kind, one.name)):
        paper = f"[{entry.venue}](https://arxiv.org/abs/{entry.arxiv})" if entry.arxiv else entry.venue
        aliases = ", ".join(entry.aliases)
        lines.append(f"| `{entry.name}` | {entry.summary} | {paper} | {aliases} |")
    return "\n".join(lines) + "\n"


def updated(text: str) -> str:
    """The README's text with the table as it should be."""
    return BETWEEN.sub(lambda match: match[1] + table() + match[2], text)


if __name__ == "__main__":
    README.write_text(updated(README.read_text("utf-8")), "utf-8")
