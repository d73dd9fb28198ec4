# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the table of variables into each role's README.md, from its argument_specs.

With --check nothing is written, and a README whose table is stale makes it fail.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
START, END = "<!-- variables -->", "<!-- /variables -->"


def markdown(text: str) -> str:
    """Ansible's markup, in one cell of a table."""
    text = re.sub(r"\b[CVOE]\(([^)]*)\)", r"`\1`", text)
    text = re.sub(r"\bB\(([^)]*)\)", r"**\1**", text)
    text = re.sub(r"\bI\(([^)]*)\)", r"*\1*", text)
    text = re.sub(r"\bU\(([^)]*)\)", r"<\1>", text)
    text = re.sub(r"\bL\(([^,)]*), *([^)]*)\)", r"[\1](\2)", text)
    return " ".join(text.split()).replace("|", "\\|")


def kind(option: dict[str, Any]) -> str:
    name = option.get("type", "str")
    return f"{name} of {option['elements']}" if "elements" in option else name


def default(option: dict[str, Any]) -> str:
    if option.get("required"):
        return "**required**"
    if "default" not in option:
        return ""
    value = json.dumps(option["default"], ensure_ascii=False)
    return f"`{value}`".replace("|", "\\|")


def rows(options: dict[str, dict[str, Any]], prefix: str = "") -> Iterator[str]:
    for name, option in options.items():
        description = option["description"]
        text = " ".join([description] if isinstance(description, str) else description)
        if "choices" in option:
            text += " One of " + ", ".join(f"V({choice})" for choice in option["choices"]) + "."
        yield f"| `{prefix}{name}` | {kind(option)} | {default(option)} | {markdown(text)} |"
        if "options" in option:
            yield from rows(option["options"], f"{prefix}{name}{'[]' if option.get('type') == 'list' else ''}.")


def table(role: Path) -> str:
    entries = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    lines = ["| Variable | Type | Default | Meaning |", "|---|---|---|---|"]
    for entry in entries.values():
        lines += rows(entry.get("options", {}))
    return "\n".join(lines)


def fill(readme: str, content: str) -> str:
    """Replace what is between the markers; a text without them stays as it is."""
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    return f"{before}{start}\n{content}\n{end}{after}" if end else readme


def roles() -> list[Path]:
    return sorted(path.parents[1] for path in ROOT.glob("roles/*/meta/argument_specs.yml"))


def stale() -> dict[Path, str]:
    """The READMEs that differ from what their roles declare, with what they should hold."""
    found = {}
    for role in roles():
        readme = role / "README.md"
        if readme.exists() and (wanted := fill(readme.read_text(), table(role))) != readme.read_text():
            found[readme] = wanted
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if a README is stale")
    check = parser.parse_args().check
    found = stale()
    for readme, wanted in found.items():
        name = readme.relative_to(ROOT)
        if check:
            print(f"{name} is stale; run `make docs`.", file=sys.stderr)
        else:
            readme.write_text(wanted)
            print(f"{name} written")
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main())
