# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's command line: which boot loader passes it, where its parameters stand, and how they are changed there.

Parameters that are not asked for stay as they are, to the byte.
"""

from __future__ import annotations

import re
import shlex
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable, Optional

from ansible_collections.onprem.cloud.plugins.module_utils.host.files import Edit, Files, Rebuild, Run
from ansible_collections.onprem.cloud.plugins.module_utils.host.pci import EFI, efi_variable

GRUB = "grub"
SYSTEMD_BOOT = "systemd-boot"
LOADERS = (GRUB, SYSTEMD_BOOT)

RUNNING = "/proc/cmdline"
GRUB_FILE = "/etc/default/grub"
GRUB_PARTS = "/etc/default/grub.d"
GRUB_MENU = "/boot/grub/grub.cfg"
KERNEL_LINE = "/etc/kernel/cmdline"
PROXMOX_PARTITIONS = "/etc/kernel/proxmox-boot-uuids"
# Vendors of variables of the firmware: the UEFI standard, and what boot loaders have agreed on.
STANDARD = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
# What the boot loader itself passes: a wrong one is a machine that does not come back.
RESERVED = ("root", "initrd", "boot_image")

WORD = re.compile(r'(?:"[^"]*(?:"|$)|[^\s"])+')
EXPANSION = re.compile(r"\$(?:\{[^}]*\}|\w+|[@*#?!$-])")
ASSIGNMENT = re.compile(r"^[ \t]*(?:export[ \t]+)?(GRUB_CMDLINE_LINUX(?:_DEFAULT)?)=", re.MULTILINE)
# Reads files as grub-mkconfig does, and says what it would pass.
EVALUATE = """
set -e
unset GRUB_CMDLINE_LINUX GRUB_CMDLINE_LINUX_DEFAULT
for file; do . "$file" >/dev/null; done
printf '%s %s' "$GRUB_CMDLINE_LINUX" "$GRUB_CMDLINE_LINUX_DEFAULT"
"""


class Unclear(Exception):
    """What cannot be known well enough to change it."""


def words(line: str) -> list[str]:
    """The parameters of a command line as the kernel reads it. What follows -- is for the first process."""
    found = WORD.findall(line)
    return found[: found.index("--")] if "--" in found else found


def name(word: str) -> str:
    """The name of a parameter: to the kernel, dashes and underscores are the same."""
    return word.replace('"', "").partition("=")[0].replace("-", "_")


def meaning(word: str) -> str:
    """A parameter in one spelling, to compare it."""
    plain = word.replace('"', "")
    return name(word) + plain[len(name(word)) :]


@dataclass(frozen=True)
class Wish:
    """Parameters that are to be there, with these values and no others, and those that are not."""

    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    def values(self) -> dict[str, list[str]]:
        """The parameters by their names, in their order."""
        found: dict[str, list[str]] = {}
        for word in self.present:
            found.setdefault(name(word), []).append(word)
        return found

    def removes(self, word: str) -> bool:
        return any(meaning(word) == meaning(gone) if "=" in gone else name(word) == name(gone) for gone in self.absent)

    def met(self, line: Iterable[str]) -> bool:
        there = list(line)
        return not any(self.removes(word) for word in there) and all(
            [meaning(word) for word in there if name(word) == key] == [meaning(value) for value in values]
            for key, values in self.values().items()
        )

    def mistake(self) -> Optional[str]:
        """What is wrong with it, in a sentence."""
        for word in (*self.present, *self.absent):
            if WORD.findall(word) != [word] or word == "--" or word.count('"') % 2 or not name(word):
                return f"'{word}' is not one parameter of the kernel, such as iommu=pt. Spaces need double quotes."
            if name(word).lower() in RESERVED:
                return f"'{word}' is passed by the boot loader itself and not changed here."
        for word in self.present:
            if self.removes(word):
                return f"'{word}' cannot be both present and absent."
        return None


@dataclass
class Unit:
    """A character of a value, and the part of the file that it is written as."""

    char: str
    start: int
    end: int
    # The quote that it is in, nothing outside of quotes, PLAIN in a file without quoting.
    quote: str


PLAIN = "plain"
# Stands for what only the shell knows, such as the value of another variable.
OPAQUE = "\ufffc"


@dataclass
class Value:
    """A part of a file that parameters stand in."""

    path: str
    text: str
    start: int
    end: int
    units: list[Unit]
    variable: str = ""
    found: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        line = "".join(unit.char for unit in self.units)
        self.found = [match.span() for match in WORD.finditer(line)]
        self.words = [line[slice(*span)] for span in self.found]
        self.stop = self.words.index("--") if "--" in self.words else len(self.words)

    @property
    def builds_on_earlier(self) -> bool:
        """Whether it is added to the value that the variable has."""
        parts = [self.text[unit.start : unit.end] for unit in self.units if unit.char == OPAQUE]
        return any(part in (f"${self.variable}", f"${{{self.variable}}}") for part in parts)

    def named(self, key: str) -> list[int]:
        return [n for n, word in enumerate(self.words[: self.stop]) if OPAQUE not in word and name(word) == key]

    def revise(self, replaced: dict[int, Optional[str]], added: list[str]) -> list[tuple[int, int, str]]:
        """What to put where in the file: words replaced by others, or by nothing, and words added."""
        cuts: dict[int, tuple[int, int, str]] = {}
        for number, new in sorted(replaced.items()):
            first, last = self.found[number]
            for index in range(first, last):
                unit = self.units[index]
                cuts[index] = (unit.start, unit.end, "")
            if new is None:
                # With the space before it, or if there is none left the one after it.
                for index in (first - 1, last):
                    if 0 <= index < len(self.units) and self.units[index].char.isspace() and index not in cuts:
                        cuts[index] = (self.units[index].start, self.units[index].end, "")
                        break
            else:
                cuts[first] = (self.units[first].start, self.units[first].end, quoted(new, self.units[first].quote))
        empty = not any(index not in cuts or cuts[index][2] for index in range(len(self.units)))
        return list(cuts.values()) + (self.add(" ".join(added), empty) if added else [])

    def add(self, more: str, empty: bool) -> list[tuple[int, int, str]]:
        if self.stop < len(self.words):
            unit = self.units[self.found[self.stop][0]]
            return [(unit.start, unit.start, quoted(f"{more} ", unit.quote))]
        more = more if empty or self.units[-1].char.isspace() else f" {more}"
        raw = self.text[self.start : self.end]
        if not self.variable:
            return [(self.end, self.end, more)]
        if raw[-1:] in ("'", '"') and raw[:1] == raw[-1:]:
            return [(self.end - 1, self.end - 1, quoted(more, raw[-1]))]
        if re.search(r"[\"'\\]", raw):
            return [(self.end, self.end, f'"{quoted(more, QUOTE)}"')]
        return [(self.start, self.start, QUOTE), (self.end, self.end, quoted(more, QUOTE) + QUOTE)]


QUOTE = '"'


def quoted(text: str, quote: str) -> str:
    """How a text is written between these quotes, or outside of any."""
    if quote == QUOTE:
        return re.sub(r'([\\"$`])', r"\\\1", text)
    if quote == "'":
        return text.replace("'", "'\\''")
    return text if quote == PLAIN else shlex.quote(text)


def scan(path: str, text: str, start: int, variable: str) -> Value:
    """The value of a variable in a file of the shell."""
    units: list[Unit] = []
    place, quote = start, ""
    while place < len(text):
        char = text[place]
        following = text[place + 1 : place + 2]
        if char == quote or (not quote and char in "\"'"):
            quote = "" if quote else char
            place += 1
            continue
        if not quote and (char in " \t\n;&|<>()" or (char == "#" and place == start)):
            break
        end = place + 1
        if char == "\\" and quote != "'" and (not quote or following in '\\"$`\n'):
            end, char = place + 2, "" if following == "\n" else following
        elif char in "$`" and quote != "'":
            end, char = expansion(text, place)
        if char:
            units.append(Unit(char, place, end, quote))
        place = end
    if quote:
        raise Unclear(f"{path}: the quote that {variable} begins with does not end: mend the file first.")
    return Value(path, text, start, place, units, variable)


def expansion(text: str, place: int) -> tuple[int, str]:
    """Where something ends that the shell replaces."""
    known = EXPANSION.match(text, place)
    if known:
        return known.end(), OPAQUE
    if text[place] == "`":
        end = text.find("`", place + 1)
        return (end + 1 if end > 0 else len(text)), OPAQUE
    if text[place + 1 : place + 2] == "(":
        depth, end = 1, place + 2
        while depth and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        return end, OPAQUE
    return place + 1, "$"


def fulfil(values: list[Value], target: Value, wish: Wish) -> dict[str, str]:
    """The texts of files in which the wish is met; the target takes what has no place yet."""
    replaced: dict[int, dict[int, Optional[str]]] = {number: {} for number in range(len(values))}
    added: list[str] = []
    for key, wanted in wish.values().items():
        places = [(number, n) for number, value in enumerate(values) for n in value.named(key)]
        for (number, n), word in zip(places, [*wanted, *[None] * len(places)]):
            if word is None or meaning(values[number].words[n]) != meaning(word):
                replaced[number][n] = word
        added += wanted[len(places) :]
    for number, value in enumerate(values):
        for n, word in enumerate(value.words[: value.stop]):
            if OPAQUE not in word and name(word) not in wish.values() and wish.removes(word):
                replaced[number][n] = None
    cuts: dict[str, list[tuple[int, int, str]]] = {}
    texts = {value.path: value.text for value in values}
    for number, value in enumerate(values):
        cuts.setdefault(value.path, []).extend(value.revise(replaced[number], added if value is target else []))
    for path, changes in cuts.items():
        for start, end, new in sorted(changes, reverse=True):
            texts[path] = texts[path][:start] + new + texts[path][end:]
    return texts


class GrubLine:
    """The command line that GRUB passes: variables that the shell reads from several files."""

    def __init__(self, files: Files, run: Run) -> None:
        self.files = files
        self.run = run
        parts = [f"{GRUB_PARTS}/{part}" for part in files.names(GRUB_PARTS) if part.endswith(".cfg") and part[0] != "."]
        self.texts = {path: text for path in (GRUB_FILE, *parts) for text in [files.text(path)] if text is not None}
        self.words = self.after = self.evaluate(self.texts)

    def evaluate(self, texts: dict[str, str]) -> list[str]:
        """What would be passed if the files were so."""
        with tempfile.TemporaryDirectory() as directory:
            copies = []
            for number, text in enumerate(texts.values()):
                copies.append(str(Path(directory) / str(number)))
                Path(copies[-1]).write_bytes(text.encode("utf-8", "surrogateescape"))
            code, output, errors = self.run(["/bin/sh", "-c", EVALUATE, "sh", *copies])
        if code:
            raise Unclear(f"The shell cannot read {' and '.join(texts)}, which update-grub does: {errors.strip()}")
        return words(output)

    def plan(self, wish: Wish) -> list[Edit]:
        if wish.met(self.words):
            return []
        values = [value for variable in ("", "_DEFAULT") for value in self.values(f"GRUB_CMDLINE_LINUX{variable}")]
        mine = [value for value in values if value.variable == "GRUB_CMDLINE_LINUX_DEFAULT"]
        # In the file of the administrator rather than in that of a package.
        target = next((value for value in reversed(mine) if value.path == GRUB_FILE), mine[-1] if mine else None)
        texts = dict(self.texts)
        if target is None:
            text = texts.get(GRUB_FILE, "")
            text += f'{"" if text.endswith(chr(10)) or not text else chr(10)}GRUB_CMDLINE_LINUX_DEFAULT=""\n'
            texts[GRUB_FILE] = text
            target = scan(GRUB_FILE, text, len(text) - 3, "GRUB_CMDLINE_LINUX_DEFAULT")
            # The others of the file are those of the text that has the new line.
            values = [scan(GRUB_FILE, text, v.start, v.variable) if v.path == GRUB_FILE else v for v in values]
            values.append(target)
        texts.update(fulfil(values, target, wish))
        self.after = self.prove(texts, wish)
        return [Edit(path, self.texts.get(path), text) for path, text in texts.items() if text != self.texts.get(path)]

    def values(self, variable: str) -> list[Value]:
        """The assignments that count: the last one that begins anew, and those that add to it."""
        found = [
            scan(path, text, match.end(), variable)
            for path, text in self.texts.items()
            for match in ASSIGNMENT.finditer(text)
            if match[1] == variable
        ]
        anew = [number for number, value in enumerate(found) if not value.builds_on_earlier]
        return found[anew[-1] :] if anew else found

    def prove(self, texts: dict[str, str], wish: Wish) -> list[str]:
        """Have the shell read the new files before they are written. Returns what would be passed."""
        after = self.evaluate(texts)
        names = {name(word) for word in (*wish.present, *wish.absent)}
        others = [[word for word in line if name(word) not in names] for line in (self.words, after)]
        if not wish.met(after) or others[0] != others[1]:
            raise Unclear(
                f"{' and '.join(texts)} say the kernel's parameters in a way that is not understood well enough to"
                f' change it: write them as one line GRUB_CMDLINE_LINUX_DEFAULT="..." of {GRUB_FILE}.'
            )
        return after


class FileLine:
    """The command line that proxmox-boot-tool gives to systemd-boot: the first line of a file."""

    def __init__(self, files: Files) -> None:
        self.before = files.text(KERNEL_LINE)
        # Without the file, proxmox-boot-tool takes the running kernel's, but for what the boot loader added.
        running = [word for word in WORD.findall(files.line(RUNNING)) if name(word) not in ("initrd", "BOOT_IMAGE")]
        self.text = " ".join(running) + "\n" if self.before is None else self.before
        line = self.text.partition("\n")[0]
        self.words = self.after = words(line)
        units = [Unit(char, place, place + 1, PLAIN) for place, char in enumerate(line)]
        self.value = Value(KERNEL_LINE, self.text, 0, len(line), units)
        if not any(word.startswith("root=") for word in self.words):
            raise Unclear(
                f"The first line of {KERNEL_LINE} has no root=, without which proxmox-boot-tool takes nothing from it:"
                " mend the file first."
            )

    def plan(self, wish: Wish) -> list[Edit]:
        if wish.met(self.words):
            return []
        text = fulfil([self.value], self.value, wish)[KERNEL_LINE]
        self.after = words(text.partition("\n")[0])
        return [Edit(KERNEL_LINE, self.before, text)]


@dataclass
class Loader:
    """The boot loader that starts this machine, how that is known, and what makes it see a change."""

    name: str
    evidence: list[str]
    rebuild: Rebuild

    def line(self, files: Files, run: Run) -> "GrubLine | FileLine":
        return GrubLine(files, run) if self.name == GRUB else FileLine(files)


def find_loader(files: Files, run: Run, asked: Optional[str] = None) -> Loader:
    """The boot loader that starts this machine, or why that is unclear."""
    managed = bool(files.line(PROXMOX_PARTITIONS))
    evidence = witnesses(files, run, managed)
    said = {loader for loader, _why in evidence}
    remedy = "say which it is with bootloader"
    if not asked and not said:
        raise Unclear(f"Nothing tells which boot loader starts this machine: {remedy}.")
    if not asked and len(said) > 1:
        both = "; but ".join("; ".join(why for loader, why in evidence if loader == side) for side in LOADERS)
        raise Unclear(f"It is not clear which boot loader starts this machine: {both}: {remedy}.")
    loader = asked or said.pop()
    if loader == GRUB and not files.exists(GRUB_FILE):
        raise Unclear(f"GRUB starts this machine, but there is no {GRUB_FILE}, from which its menu is made.")
    if loader == SYSTEMD_BOOT and not managed:
        raise Unclear(
            "systemd-boot starts this machine, but proxmox-boot-tool does not look after its boot partitions"
            f" ({PROXMOX_PARTITIONS} names none): have it do so with 'proxmox-boot-tool init'."
        )
    argv = ("proxmox-boot-tool", "refresh") if managed else ("update-grub",)
    return Loader(loader, [why for _loader, why in evidence], Rebuild("boot-loader", argv))


def witnesses(files: Files, run: Run, managed: bool) -> list[tuple[str, str]]:
    """Which loaders there are signs of, and the signs."""
    found = []
    running = files.line(RUNNING)
    if re.search(r"(^|\s)BOOT_IMAGE=", running):
        found.append((GRUB, "the running kernel was passed BOOT_IMAGE=, as only GRUB does"))
    elif re.search(r"(^|\s)initrd=\\", running):
        found.append((SYSTEMD_BOOT, "the running kernel was passed initrd=\\..., as systemd-boot does"))
    info = (efi_variable(files, "LoaderInfo", LOADER) or b"").decode("utf-16-le", "replace").rstrip("\0")
    if info.startswith("systemd-boot"):
        found.append((SYSTEMD_BOOT, f"the boot loader left its name in the firmware, {info}"))
    elif info.startswith("GRUB"):
        found.append((GRUB, f"the boot loader left its name in the firmware, {info}"))
    image = booted_image(files)
    if "\\systemd\\" in image.lower():
        found.append((SYSTEMD_BOOT, f"the firmware started {image}"))
    elif re.search(r"\\(grub|shim)[^\\]*$", image.lower()):
        found.append((GRUB, f"the firmware started {image}"))
    if not files.exists(EFI):
        if files.exists(GRUB_FILE):
            found.append((GRUB, f"the firmware is not UEFI, and there is {GRUB_FILE}"))
    elif managed:
        found += partitions(run)
    elif not found and files.exists(GRUB_MENU):
        found.append((GRUB, f"there is {GRUB_MENU}"))
    return found


def partitions(run: Run) -> list[tuple[str, str]]:
    """What proxmox-boot-tool has put on its partitions, where that is one and the same."""
    code, output, _errors = run(["proxmox-boot-tool", "status"])
    kinds = re.findall(r"\b(uefi|grub) \(versions:", output) if code == 0 else []
    if set(kinds) == {"uefi"}:
        return [(SYSTEMD_BOOT, "proxmox-boot-tool has put systemd-boot on its partitions")]
    if set(kinds) == {"grub"}:
        return [(GRUB, "proxmox-boot-tool has put GRUB on its partitions")]
    return []


def booted_image(files: Files) -> str:
    """The program that the firmware started."""
    current = efi_variable(files, "BootCurrent", STANDARD)
    if not current or len(current) < 2:
        return ""
    entry = efi_variable(files, f"Boot{int.from_bytes(current[:2], 'little'):04X}", STANDARD) or b""
    # Flags, the length of the path, a title that a zero ends, and then the parts of the path.
    place = 6
    while entry[place : place + 2] not in (b"\0\0", b""):
        place += 2
    place += 2
    while place + 4 <= len(entry):
        length = int.from_bytes(entry[place + 2 : place + 4], "little")
        if entry[place : place + 2] == b"\x04\x04":
            return entry[place + 4 : place + length].decode("utf-16-le", "replace").rstrip("\0")
        place += max(length, 4)
    return ""


def skipped(printed: Iterable[str]) -> list[str]:
    """What proxmox-boot-tool says of partitions that it left out, as it does without failing."""
    return [line for text in printed for line in text.splitlines() if line.rstrip().endswith("skipping")]
