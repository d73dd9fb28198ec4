# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a machine: what the kernel shows of it, and what is edited there."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

# Runs a program and answers its exit code, its output and its errors.
Run = Callable[["list[str]"], "tuple[int, str, str]"]


def runner(module: Any) -> Run:
    """Have AnsibleModule run programs, as they stand, and not end where one is missing."""

    def run(argv: list[str]) -> tuple[int, str, str]:
        try:
            # Not expanded here, but by the shell that a program may be.
            options = {"path_prefix": "/usr/sbin", "expand_user_and_vars": False, "handle_exceptions": False}
            return module.run_command(argv, **options)
        except OSError as error:
            return 127, "", f"{argv[0]}: {error.strerror}"

    return run


class Files:
    """Files by their absolute paths on the machine, whose root is another directory in a test."""

    def __init__(self, root: str = "/") -> None:
        self.root = Path(root)

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def exists(self, path: str) -> bool:
        return self.path(path).exists()

    def names(self, path: str) -> list[str]:
        """What a directory holds, nothing if it is not there."""
        directory = self.path(path)
        return sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []

    def content(self, path: str) -> Optional[bytes]:
        """The content of a file, None if it is not there or the kernel refuses to tell."""
        try:
            return self.path(path).read_bytes()
        except OSError:
            return None

    def text(self, path: str) -> Optional[str]:
        """The content of a file as text in which no byte is lost."""
        found = self.content(path)
        return None if found is None else found.decode("utf-8", "surrogateescape")

    def line(self, path: str) -> str:
        """The one line that most files of sysfs have."""
        return (self.text(path) or "").strip()

    def target(self, path: str) -> str:
        """The last part of what a symbolic link points to."""
        link = self.path(path)
        return link.readlink().name if link.is_symlink() else ""

    def write(self, path: str, text: str) -> None:
        """Replace a file in one step: whoever reads it sees the old content or the new one."""
        place = self.path(path).resolve()
        place.parent.mkdir(parents=True, exist_ok=True)
        # The directories that are written to are read by patterns such as *.cfg, which leave hidden files out.
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=f".{place.name}.", delete=False) as stream:
            new = Path(stream.name)
            try:
                stream.write(text.encode("utf-8", "surrogateescape"))
                stream.flush()
                os.fsync(stream.fileno())
                if place.exists():
                    old = place.stat()
                    os.chown(new, old.st_uid, old.st_gid)
                    new.chmod(old.st_mode & 0o7777)
                else:
                    new.chmod(0o644)
                new.replace(place)
            except BaseException:
                new.unlink()
                raise

    def remove(self, path: str) -> None:
        place = self.path(path)
        if place.is_symlink() or place.exists():
            place.unlink()


@dataclass(frozen=True)
class Edit:
    """What a file becomes; None where it is not there."""

    path: str
    before: Optional[str]
    after: Optional[str]

    def diff(self) -> dict[str, Any]:
        return {
            "before_header": self.path,
            "after_header": self.path,
            "before": self.before or "",
            "after": self.after or "",
        }


class Failed(Exception):
    """A program that had to run failed; the message says what became of the files."""


STATE = "/var/lib/onprem.cloud"


@dataclass(frozen=True)
class Rebuild:
    """A program that makes something of the files, such as update-grub."""

    name: str
    argv: tuple[str, ...]

    @property
    def mark(self) -> str:
        """The file that is there as long as the program has not made anything of the newest files."""
        return f"{STATE}/{self.name}.pending"


def is_pending(files: Files, rebuild: Rebuild) -> bool:
    """Whether files were written, and a run ended before the program made anything of them."""
    return files.exists(rebuild.mark)


def apply(files: Files, run: Run, edits: list[Edit], rebuilds: list[Rebuild]) -> list[str]:
    """Write the files and run the programs, or put everything back. Returns what the programs printed."""
    printed = []
    for rebuild in rebuilds:
        files.write(rebuild.mark, "")
    try:
        put(files, {edit.path: edit.after for edit in edits})
    except OSError as error:
        put(files, {edit.path: edit.before for edit in edits})
        clear(files, rebuilds)
        raise Failed(f"{error.filename} could not be written ({error.strerror}); nothing is changed.") from error
    for number, rebuild in enumerate(rebuilds):
        code, output, errors = run(list(rebuild.argv))
        printed.append(output + errors)
        if code:
            put(files, {edit.path: edit.before for edit in edits})
            # What ran may have worked with the new files, for some kernels or boot partitions at least.
            stale = [again for again in rebuilds[: number + 1] if run(list(again.argv))[0]]
            clear(files, [again for again in rebuilds if again not in stale])
            raise Failed(sentence(rebuild, code, errors or output, edits, stale))
    clear(files, rebuilds)
    return printed


def put(files: Files, contents: dict[str, Optional[str]]) -> None:
    for path, content in contents.items():
        if content is None:
            files.remove(path)
        else:
            files.write(path, content)


def clear(files: Files, rebuilds: list[Rebuild]) -> None:
    for rebuild in rebuilds:
        files.remove(rebuild.mark)
    state = files.path(STATE)
    if state.is_dir() and not files.names(STATE):
        state.rmdir()


def sentence(rebuild: Rebuild, code: int, words: str, edits: list[Edit], stale: list[Rebuild]) -> str:
    last = " ".join(words.strip().splitlines()[-5:]) or "it said nothing"
    paths = ", ".join(edit.path for edit in edits)
    text = f"'{' '.join(rebuild.argv)}' failed with exit code {code}: {last}."
    text += f" The earlier content of {paths} is back" if edits else " No file was changed"
    if stale:
        programs = " and ".join(f"'{' '.join(program.argv)}'" for program in stale)
        return f"{text}, but {programs} fails with it as well: mend that before the next reboot, and run this again."
    return f"{text}."
