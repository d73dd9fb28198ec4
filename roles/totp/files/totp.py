"""Look at what the role decides by, and write the file of secrets if it is told to. Input and output are JSON.

No secret is printed. The file is rewritten by pam_oath at every login, which notes the last code there. So lines stay
as they are unless their secret is another one, and the module's own lock is held meanwhile.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

TYPE = "HOTP/T30/6"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    lock = Path(f"{path}.lock")
    with lock.open("w") as handle:
        fcntl.lockf(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            lock.unlink()


def digits(secret: str) -> str:
    """Base32, as phones have it, in the hexadecimal digits of the file."""
    secret = secret.rstrip("=").upper()
    return base64.b32decode(secret + "=" * (-len(secret) % 8)).hex()


def merged(lines: list[str], users: dict[str, str | None]) -> list[str]:
    """The lines with these secrets in place. Who is not named keeps the line, and who is named the last code."""
    wanted = {name: digits(secret) for name, secret in users.items() if secret is not None}
    found = []
    for line in lines:
        fields = line.split()
        name = fields[1] if len(fields) > 3 and not line.startswith("#") else None
        if name not in users:
            found.append(line)
        elif fields[0] == TYPE and fields[3].lower() == wanted.get(name):
            found.append(line)
            del wanted[name]
    return found + [f"{TYPE}\t{name}\t-\t{secret}" for name, secret in sorted(wanted.items())]


def write(path: Path, lines: list[str]) -> None:
    new = path.with_name(f"{path.name}.onprem")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write("".join(f"{line}\n" for line in lines))
        handle.flush()
        os.fsync(handle.fileno())
    new.rename(path)


def put(path: Path, users: dict[str, str | None], apply: bool) -> bool:
    """Whether the file differs from what it should be, and if told to, no longer."""
    try:
        before = path.read_text().splitlines()
        status = path.stat()
        private = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o600, 0, 0)
    except FileNotFoundError:
        before, private = [], not any(users.values())
    after = merged(before, users)
    if after == before and private:
        return False
    if apply:
        write(path, after)
    return True


def content(path: str) -> str:
    try:
        return Path(path).read_text()
    except FileNotFoundError:
        return ""


def mode(path: str) -> str:
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return "missing"
    return f"{stat.S_IMODE(status.st_mode):o}:{status.st_uid}:{status.st_gid}"


def installed(packages: list[str]) -> bool:
    query = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\\n", *packages]
    states = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split("\n")
    return all(f"{package} installed" in states for package in packages)


def main() -> None:
    asked = json.load(sys.stdin)
    path = Path(asked["file"])
    absent = [user["name"] for user in asked["users"] if user.get("state") == "absent"]
    users = {user["name"]: None if user["name"] in absent else user["secret"] for user in asked["users"]}
    with locked(path) if asked["apply"] else contextlib.nullcontext():
        changed = put(path, users, asked["apply"])
    accounts = {account.pw_name for account in pwd.getpwall()}
    facts = {
        "changed": changed,
        "installed": installed(asked["packages"]),
        "strangers": sorted(users.keys() - accounts - set(absent)),
        "pam": content("/etc/pam.d/sshd"),
        "dropin": f"{mode(asked['dropin'])}:{hashlib.sha256(content(asked['dropin']).encode()).hexdigest()}",
    }
    json.dump(facts, sys.stdout)


main()
