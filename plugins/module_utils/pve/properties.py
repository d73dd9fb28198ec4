# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of the Proxmox VE API, compared by meaning instead of by spelling.

A kind turns what a user or PVE wrote into one canonical Python value (``parse``), and a canonical
value into what PVE is sent (``format``). Two spellings mean the same when their canonical values are
equal. ``parse`` undoes ``format``, and raises ``Invalid`` with the reason and the remedy.
"""

from __future__ import annotations

import math
import re
from typing import Any, Iterable, NamedTuple

TRUE = ("1", "on", "yes", "true")
FALSE = ("0", "off", "no", "false")
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
MAC = re.compile(r"[0-9A-F][02468ACE](:[0-9A-F]{2}){5}")
NEW_VOLUME = re.compile(r"([^:/\s]+):(\d+(?:\.\d+)?)")


class Invalid(ValueError):
    """A value that cannot be what the user meant; the text says why and what to write."""


def nearest(word: str, known: Iterable[str]) -> str:
    """The remedy for an unknown key: the key that was probably meant, or all of them."""
    import difflib

    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"valid keys are {', '.join(known)}"


# The types that an option has in Ansible.
INT, FLOAT, BOOL, STR, RAW, DICT = ({"type": name} for name in ("int", "float", "bool", "str", "raw", "dict"))
LIST = {"type": "list", "elements": "str"}
SECRET = {**STR, "no_log": True}
# What a diff has in place of a secret.
HIDDEN = "(hidden)"


class Option(NamedTuple):
    """One option of an object: ``spec`` for Ansible, ``kind`` and ``default`` for the comparison."""

    spec: dict[str, Any]
    kind: Any
    default: Any = None
    fixed: bool = False  # PVE never changes it once the object exists
    making: bool = False  # counts when the object is made, and PVE shows nothing of it afterwards
    secret: bool = False  # PVE takes it and never shows it
    hidden: bool = False  # PVE shows it, and the modules show it to nobody
    key: str = ""  # PVE's name, where it is not the option's with dashes for underscores


class Text:
    """A string that PVE keeps as it is."""

    def __init__(self, choices: tuple[str, ...] = (), pattern: str = "", hint: str = "") -> None:
        self.choices, self.pattern, self.hint = choices, pattern, hint

    def parse(self, value: Any) -> Any:
        text = str(value).strip()
        if self.choices and text and text not in self.choices:
            raise Invalid(f"'{text}' is not one of {', '.join(self.choices)}")
        if self.pattern and text and not re.fullmatch(self.pattern, text):
            raise Invalid(f"'{text}' is not {self.hint}")
        return text

    def format(self, value: Any) -> Any:
        return value


def choice(*words: str, default: Any = None, key: str = "", fixed: bool = False) -> Option:
    """An option that is one of a few words."""
    return Option({**STR, "choices": list(words)}, Text(words), default, fixed=fixed, key=key)


class Note(Text):
    """A text of several lines; PVE ends it with a newline of its own."""

    def parse(self, value: Any) -> str:
        return str(value).rstrip("\n")


class Mac(Text):
    def parse(self, value: Any) -> str:
        mac = str(value).strip().upper()
        if not MAC.fullmatch(mac):
            raise Invalid(f"'{value}' is not a unicast MAC address such as BC:24:11:00:00:01")
        return mac


class Network(Text):
    """``dhcp``, ``manual`` or an address with its prefix length."""

    def __init__(self, version: int, words: tuple[str, ...]) -> None:
        super().__init__()
        self.version, self.words = version, words

    def parse(self, value: Any) -> str:
        import ipaddress

        text = str(value).strip().lower()
        if text in self.words:
            return text
        try:
            interface = ipaddress.ip_interface(text)
            if "/" not in text or interface.version != self.version:
                raise ValueError(text)
        except ValueError:
            example = "192.0.2.10/24" if self.version == 4 else "2001:db8::10/64"
            raise Invalid(f"'{value}' is none of {', '.join(self.words)} or an address such as {example}") from None
        return str(interface)


class Address(Text):
    """An IP address; PVE takes none with the interface behind it."""

    def parse(self, value: Any) -> str:
        import ipaddress

        try:
            return str(ipaddress.ip_address(str(value).strip().replace("%", " ")))
        except ValueError:
            raise Invalid(f"'{value}' is not an IP address") from None


class Boolean:
    def parse(self, value: Any) -> bool:
        text = str(value).strip().lower()
        if text in TRUE:
            return True
        if text in FALSE:
            return False
        raise Invalid(f"'{value}' is not a boolean, write true or false")

    def format(self, value: bool) -> int:
        return int(value)


class Number:
    """A number within bounds; ``clamp`` is the range PVE silently limits it to."""

    def __init__(
        self,
        minimum: float = 0,
        maximum: float | None = None,
        *,
        integer: bool = True,
        clamp: tuple[int, int] | None = None,
    ) -> None:
        self.minimum, self.maximum, self.integer, self.clamp = minimum, maximum, integer, clamp

    def parse(self, value: Any) -> float:
        try:
            number = float(value)
            if isinstance(value, bool) or not math.isfinite(number) or (self.integer and number != int(number)):
                raise ValueError(value)
        except (TypeError, ValueError):
            raise Invalid(f"'{value}' is not {'an integer' if self.integer else 'a number'}") from None
        if number < self.minimum or (self.maximum is not None and number > self.maximum):
            above = "" if self.maximum is None else f" and at most {self.maximum:.10g}"
            raise Invalid(f"{value} is out of range, it must be at least {self.minimum:g}{above}")
        if self.clamp and number:
            number = min(max(number, self.clamp[0]), self.clamp[1])
        return int(number) if number == int(number) else number

    def format(self, value: float) -> Any:
        return value


class Size:
    """Bytes; a number without a unit means GiB, as in ``storage:8``."""

    def parse(self, value: Any) -> int:
        match = SIZE.fullmatch(str(value).strip())
        if isinstance(value, bool) or not match:
            raise Invalid(f"'{value}' is not a size, write for example 8G")
        number, unit = match.groups()
        return round(float(number) * UNITS[unit.upper() or "G"])

    def format(self, value: int) -> str:
        for unit in ("T", "G", "M", "K"):
            if value % UNITS[unit] == 0:
                return f"{value // UNITS[unit]}{unit}"
        return f"{value / UNITS['K']:g}K"


class Words:
    """A list; ``unordered`` lists (a set) are sorted, ``lower`` ones lose their case, as PVE does."""

    def __init__(
        self,
        joiner: str,
        *,
        unordered: bool = False,
        lower: bool = False,
        split: str = r"[;,\s]+",
        word: str = r".+",
        hint: str = "",
    ) -> None:
        self.joiner, self.unordered, self.lower, self.split = joiner, unordered, lower, split
        self.word, self.hint = word, hint

    def parse(self, value: Any) -> list[str]:
        parts = value if isinstance(value, (list, tuple)) else [value]
        words = [word for part in parts for word in re.split(self.split, str(part).strip()) if word]
        if self.lower:
            words = [word.lower() for word in words]
        for word in words:
            if not re.fullmatch(self.word, word):
                raise Invalid(f"'{word}' is not {self.hint}")
        return sorted(set(words)) if self.unordered else words

    def format(self, value: list[str]) -> str:
        return self.joiner.join(value)


class Items:
    """A list whose items may hold anything; the API takes it as a parameter that is repeated."""

    def parse(self, value: Any) -> list[str]:
        return [str(item) for item in (value if isinstance(value, (list, tuple)) else [value]) if item != ""]

    def format(self, value: list[str]) -> list[str]:
        return value


class ArraySet:
    """A set of values that PVE takes as an array; each is of one kind, their order means nothing."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind

    def parse(self, value: Any) -> list[Any]:
        parts = value if isinstance(value, (list, tuple)) else [value]
        parsed = {str(self.kind.format(item)): item for item in map(self.kind.parse, parts) if item not in ("", {})}
        return [parsed[key] for key in sorted(parsed)]

    def format(self, value: list[Any]) -> list[Any]:
        return [self.kind.format(item) for item in value]


class Nodes:
    """Nodes with a priority each, given as ``pve1:2,pve2``, as a list of such or as a dictionary."""

    def parse(self, value: Any) -> dict[str, int]:
        if isinstance(value, dict):
            parts = [f"{node}:{priority or 0}" for node, priority in value.items()]
        else:
            parts = [word for item in (value if isinstance(value, list) else [value]) for word in str(item).split(",")]
        found: dict[str, int] = {}
        for part in filter(None, (part.strip() for part in parts)):
            match = re.fullmatch(r"([A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)(?::(\d+))?", part)
            if not match:
                raise Invalid(f"'{part}' is not a node such as pve1, or pve1:2 with its priority")
            if match[1] in found:
                raise Invalid(f"'{match[1]}' is given twice")
            found[match[1]] = int(match[2] or 0)
        return dict(sorted(found.items()))

    def format(self, value: dict[str, int]) -> str:
        return ",".join(f"{node}:{priority}" if priority else node for node, priority in value.items())


class PropertyString:
    """A value such as ``name=eth0,bridge=vmbr0``, given as PVE's string or as a dict.

    ``kinds`` holds the keys; ``defaults`` what an absent key means; ``bare`` the key whose name may be
    left out; ``kept`` the keys that stay as they are when they are not given; ``first`` leads the string.
    """

    def __init__(
        self,
        kinds: dict[str, Any],
        *,
        defaults: dict[str, Any] | None = None,
        bare: str = "",
        required: tuple[str, ...] = (),
        kept: tuple[str, ...] = (),
        first: tuple[str, ...] = (),
    ) -> None:
        self.kinds, self.defaults, self.bare = kinds, defaults or {}, bare
        self.required, self.kept, self.first = required, kept, first

    def split(self, value: Any) -> dict[str, Any]:
        """The keys as they were written."""
        if isinstance(value, dict):
            return {str(key): item for key, item in value.items() if item is not None and item != ""}
        pairs: dict[str, Any] = {}
        for part in filter(None, (piece.strip() for piece in str(value).split(","))):
            key, equals, item = part.partition("=")
            if not equals:
                if not self.bare or pairs:
                    raise Invalid(f"'{part}' is not key=value")
                key, item = self.bare, part
            if key in pairs:
                raise Invalid(f"'{key}' is given twice")
            pairs[key] = item
        return pairs

    def parse(self, value: Any) -> dict[str, Any]:
        parsed: dict[str, Any] = {}
        for key, item in self.split(value).items():
            if key not in self.kinds:
                raise Invalid(f"unknown key '{key}', {nearest(key, self.kinds)}")
            try:
                parsed[key] = self.kinds[key].parse(item)
            except Invalid as error:
                raise Invalid(f"{key}: {error}") from None
        return {key: item for key, item in parsed.items() if key not in self.defaults or item != self.defaults[key]}

    def check(self, value: dict[str, Any]) -> None:
        """What only a value from the user must satisfy."""
        for key in self.required:
            if value and key not in value:
                raise Invalid(f"'{key}' is missing")

    def format(self, value: dict[str, Any]) -> str:
        def rank(key: str) -> tuple[int, str]:
            return ((self.bare, *self.first).index(key) if key in (self.bare, *self.first) else 99, key)

        parts = []
        for key in sorted(value, key=rank):
            item = self.kinds[key].format(value[key])
            parts.append(str(item) if key == self.bare else f"{key}={item}")
        return ",".join(parts)

    def complete(self, wanted: dict[str, Any], current: dict[str, Any]) -> dict[str, Any]:
        """The wanted value with what it leaves to the current one."""
        return {**{key: current[key] for key in self.kept if key in current}, **wanted}

    def visible(self, value: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
        """The value without what the user left to PVE: what a prediction can promise."""
        return {key: item for key, item in value.items() if key not in self.kept or key in wanted}

    def show(self, value: dict[str, Any]) -> str:
        return self.format(value)


class Item(PropertyString):
    """One of a list of property strings: each is checked by itself, and keys may have underscores for dashes."""

    def split(self, value: Any) -> dict[str, Any]:
        return {key.replace("_", "-"): item for key, item in super().split(value).items()}

    def parse(self, value: Any) -> dict[str, Any]:
        parsed = super().parse(value)
        for key in self.required:
            if key not in parsed:
                raise Invalid(f"'{key}' is missing in '{self.format(parsed)}'")
        return parsed


class Retention(PropertyString):
    """How many backups are kept. A zero is the same as no such key, and nothing but zeros keeps all."""

    def __init__(self) -> None:
        kept = {f"keep-{span}": Number() for span in ("last", "hourly", "daily", "weekly", "monthly", "yearly")}
        super().__init__({"keep-all": Boolean(), **kept})

    def parse(self, value: Any) -> dict[str, Any]:
        written = super().parse(value)
        parsed = {key: item for key, item in written.items() if item}
        if "keep-all" in parsed and len(parsed) > 1:
            raise Invalid("'keep-all' keeps every backup, leave it out or leave the other keys out")
        return parsed or ({"keep-all": True} if written else {})


class Mount(PropertyString):
    """A volume of a container: ``storage`` and ``size`` stand for PVE's ``storage:GiB``."""

    def split(self, value: Any) -> dict[str, Any]:
        pairs = super().split(value)
        new = NEW_VOLUME.fullmatch(str(pairs.get("volume", "")))
        if new:
            del pairs["volume"]
            pairs["storage"], pairs["size"] = new.group(1), f"{new.group(2)}G"
        return pairs

    def parse(self, value: Any) -> dict[str, Any]:
        parsed = super().parse(value)
        volume = parsed.get("volume", "")
        if volume and not volume.startswith("/"):
            parsed["storage"] = volume.partition(":")[0]
        return parsed

    def check(self, value: dict[str, Any]) -> None:
        super().check(value)
        if value and "volume" not in value and "storage" not in value:
            raise Invalid("'storage' is missing")

    def format(self, value: dict[str, Any]) -> str:
        value = dict(value)
        storage = value.pop("storage", "")
        if storage and "volume" not in value:
            size = value.pop("size", 0) / UNITS["G"]
            value["volume"] = f"{storage}:{size:.10g}"
        return super().format(value)

    def show(self, value: dict[str, Any]) -> str:
        if "volume" in value:
            return self.format(value)
        shown = {key: self.kinds[key].format(item) for key, item in sorted(value.items())}
        return ",".join(f"{key}={item}" for key, item in shown.items())
