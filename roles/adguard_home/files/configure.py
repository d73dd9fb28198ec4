"""Bring what is declared into AdGuard Home's configuration, and keep all else that is in it.

The standard input says what is declared. `plan` prints what differs, `apply` writes it too. The program rewrites its
file whenever somebody changes something in its web interface, so it must not run while the file is written.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import bcrypt
import yaml

Entry = dict[str, Any]
# What a new client starts with: everything that it is not told otherwise is as for everybody.
CLIENT = {"use_global_settings": True, "use_global_blocked_services": True}
UNSHOWN = re.compile("password|private_key|certificate_chain")


class Loader(yaml.SafeLoader):
    """Points in time stay the text that they are."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def replace(path: Path, text: str, owner: str) -> None:
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        new.touch(mode=0o600)
        with new.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        shutil.chown(new, owner, owner)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


class Program:
    def __init__(self, path: str, user: str) -> None:
        self.path = path
        self.user = user

    def run(self, *options: str) -> str:
        command = [self.path, *options]
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
            user=self.user,
            group=self.user,
            extra_groups=[],
        )
        if done.returncode:
            sys.exit("\n".join(done.stdout.strip().splitlines()[-5:]))
        return done.stdout

    def schema(self) -> int:
        return int(re.search(r"^Schema version: (\d+)$", self.run("--verbose", "--version"), re.MULTILINE)[1])

    def checked(self, text: str) -> str:
        """The configuration as the program reads it: one of an earlier version comes back in its own words."""
        with tempfile.TemporaryDirectory() as folder:
            shutil.chown(folder, self.user, self.user)
            # The program takes a file that is missing for a first start, and starts.
            copy = Path(folder, "AdGuardHome.yaml")
            replace(copy, text, self.user)
            self.run("--check-config", "--config", str(copy), "--work-dir", folder)
            return copy.read_text()


def meaning(value: Any) -> Any:
    """The program spells durations as its version likes best: 720h, or 30d."""
    if not isinstance(value, str) or not re.fullmatch(r"(\d+[dhms])+", value):
        return value
    seconds = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    return sum(int(number) * seconds[unit] for number, unit in re.findall(r"(\d+)([dhms])", value))


def settings(current: Entry, wanted: Entry, path: str = "") -> list[str]:
    changes = []
    for key, value in wanted.items():
        name = f"{path}{key}"
        if isinstance(value, dict) and value:
            if not isinstance(current.get(key), dict):
                current[key] = {}
            changes += settings(current[key], value, f"{name}.")
        elif key not in current or meaning(current[key]) != meaning(value):
            before = json.dumps(current.get(key))
            changes.append(name if UNSHOWN.search(name) else f"{name}: {before} becomes {json.dumps(value)}")
            current[key] = value
    return changes


def differences(title: str, before: Iterable[Any], after: Iterable[Any], name: Callable[[Any], str]) -> list[str]:
    old, new = {name(entry): entry for entry in before}, {name(entry): entry for entry in after}
    words = {(True, False): "removed", (False, True): "added", (True, True): "changed"}
    return [
        f"{title} {found}: {words[found in old, found in new]}"
        for found in old | new
        if old.get(found) != new.get(found)
    ]


def same(identifier: str) -> str:
    """One spelling of what a client is known by."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_network(identifier))
    text = identifier.lower()
    return text.replace("-", ":") if re.fullmatch("([0-9a-f]{2}-){5}[0-9a-f]{2}", text) else text


def rewrites(current: list[Entry], wanted: list[Entry], former: list[str]) -> list[Entry]:
    answers: dict[str, list[str]] = {}
    for entry in wanted:
        answers.setdefault(entry["name"].lower(), []).append(entry["answer"])
    left = {name: list(dict.fromkeys(values)) for name, values in answers.items()}
    kept = []
    for entry in current:
        name = entry["domain"].lower()
        if name in answers:
            if entry["answer"] in left[name]:
                left[name].remove(entry["answer"])
                kept.append(entry | ({"enabled": True} if "enabled" in entry else {}))
        elif name not in former:
            kept.append(entry)
    new = [{"domain": name, "answer": answer, "enabled": True} for name, values in left.items() for answer in values]
    return kept + new


def lists(current: list[Entry], wanted: list[Entry], former: list[str]) -> list[Entry]:
    """The id is the name of the file that holds the rules: a list keeps it, and nobody's is used again."""
    urls = {entry["url"]: entry for entry in wanted}
    kept = [
        entry | urls.pop(entry["url"], {}) for entry in current if entry["url"] in urls or entry["url"] not in former
    ]
    first = max([int(time.time()), *(entry["id"] for entry in current)]) + 1
    return kept + [entry | {"id": first + number} for number, entry in enumerate(urls.values())]


def rules(current: list[str], wanted: list[str], former: list[str]) -> list[str]:
    kept = [rule for rule in current if rule in wanted or rule not in former]
    return kept + [rule for rule in dict.fromkeys(wanted) if rule not in kept]


def clients(current: list[Entry], wanted: list[Entry], former: list[str]) -> list[Entry]:
    names = {entry["name"]: entry for entry in wanted}
    kept = []
    for entry in current:
        if entry["name"] not in names and entry["name"] in former:
            continue
        declared = dict(names.pop(entry["name"], {}))
        for key in ("ids", "tags"):
            if key in declared and set(map(same, declared[key])) == set(map(same, entry.get(key) or [])):
                del declared[key]
        merged = json.loads(json.dumps(entry))
        settings(merged, declared)
        kept.append(merged)
    return kept + [CLIENT | entry for entry in names.values()]


def accounts(current: list[Entry], wanted: list[Entry], former: list[str]) -> list[Entry]:
    passwords = {
        entry["name"]: (entry.get("password") or Path(entry["password_file"]).read_text().strip()).encode()
        for entry in wanted
    }
    kept = [dict(entry) for entry in current if entry["name"] in passwords or entry["name"] not in former]
    known = {entry["name"] for entry in kept}
    kept += [{"name": name, "password": ""} for name in passwords if name not in known]
    for entry in kept:
        password = passwords.get(entry["name"])
        if password is not None and not is_hash_of(entry["password"].encode(), password):
            entry["password"] = bcrypt.hashpw(password, bcrypt.gensalt(10)).decode()
    return kept


def is_hash_of(hashed: bytes, password: bytes) -> bool:
    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:
        return False


def reverse(wanted: list[Entry]) -> list[str]:
    """The first name of an address is what a reverse lookup of it answers."""
    names: dict[str, str] = {}
    for entry in wanted:
        with contextlib.suppress(ValueError):
            if not entry["name"].startswith("*"):
                names.setdefault(ipaddress.ip_address(entry["answer"]).reverse_pointer, entry["name"].lower())
    return [f"|{pointer}^$dnsrewrite=NOERROR;PTR;{name}." for pointer, name in names.items()]


def main() -> None:
    asked = json.load(sys.stdin)
    program = Program(asked["program"], asked["user"])
    path, record = Path(asked["path"]), Path(asked["record"])
    former = json.loads(record.read_text()) if record.exists() else {}
    if path.exists():
        text = path.read_text()
        try:
            current = yaml.load(program.checked(text) if asked["upgrade"] else text, Loader)
        except yaml.MarkedYAMLError as error:
            sys.exit(f"{path} is broken in line {error.problem_mark.line + 1}: {error.problem}.")
    else:
        current = {"schema_version": program.schema()}

    asked["user_rules"] += reverse(asked["rewrites"])
    asked["user_rules"] += [f"||{domain.lower()}^$dnsrewrite=NXDOMAIN;;" for domain in asked["local_domains"]]
    changes = settings(current, asked["settings"])
    filtering = current.setdefault("filtering", {})
    persistent = current.setdefault("clients", {})
    for title, place, key, merge, name in (
        ("rewrite", filtering, "rewrites", rewrites, lambda entry: f"{entry['domain']} {entry['answer']}"),
        ("block list", current, "filters", lists, lambda entry: entry["url"]),
        ("allow list", current, "whitelist_filters", lists, lambda entry: entry["url"]),
        ("rule", current, "user_rules", rules, str),
        ("client", persistent, "persistent", clients, lambda entry: entry["name"]),
        ("account", current, "users", accounts, lambda entry: entry["name"]),
    ):
        before = place.get(key) or []
        place[key] = merge(before, asked[key], former.get(key, []))
        changes += differences(title, before, place[key], name)
    declared = {
        "rewrites": sorted({entry["name"].lower() for entry in asked["rewrites"]}),
        "filters": [entry["url"] for entry in asked["filters"]],
        "whitelist_filters": [entry["url"] for entry in asked["whitelist_filters"]],
        "user_rules": asked["user_rules"],
        "persistent": [entry["name"] for entry in asked["persistent"]],
        "users": [entry["name"] for entry in asked["users"]],
    }
    if declared != former and not changes:
        changes.append("what is declared")

    if changes or asked["upgrade"]:
        text = program.checked(yaml.safe_dump(current, sort_keys=False, allow_unicode=True, width=1 << 20))
        if sys.argv[1] == "apply":
            replace(path, text, asked["user"])
            replace(record, json.dumps(declared, indent=1) + "\n", "root")
    json.dump(changes, sys.stdout)


main()
