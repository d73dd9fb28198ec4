# Copyright: The onprem.cloud contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: secret
author: The onprem.cloud contributors (@onprem-cloud)
version_added: 0.1.0
short_description: A secret that is generated once per inventory
description:
  - Returns the secret of a name. The first time a name is asked for, a random value is generated and kept on the
    controller; every later time, the kept value is returned.
  - Several workers may ask for the same new secret at once. All of them get the same value.
  - When a vault password is configured for the run (C(--vault-password-file), C(--vault-id),
    C(ANSIBLE_VAULT_PASSWORD_FILE)), a new secret is encrypted with it.
  - Nothing is generated in check mode.
options:
  _terms:
    description:
      - Names of the secrets. A name consists of lower-case letters, digits, C(_), C(.) and C(-), and starts with a
        letter or a digit.
    type: list
    elements: str
    required: true
  directory:
    description:
      - The directory on the controller that keeps the secrets. A relative path is relative to the directory of the
        first inventory source.
      - By default, C(.secrets) in the directory of the first inventory source, which is the source itself if it is
        a directory. The name starts with a dot because Ansible reads every other file of an inventory directory as
        an inventory, and would take a secret for the name of a host.
    type: str
    vars:
      - name: secrets_directory
  length:
    description: The number of characters of a new secret. A secret that exists keeps its length.
    type: int
    default: 32
  chars:
    description:
      - The characters of which a new secret is made. The default, letters and digits, needs quoting in no
        configuration file, URL or shell.
    type: str
    default: abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789
  generate:
    description:
      - Whether a secret that does not exist is generated. If not, an empty text is returned in its place.
      - Use V(false) for what somebody else makes, such as the secret of an API token. M(onprem.cloud.secret) keeps it.
    type: bool
    default: true
seealso:
  - module: onprem.cloud.secret
notes:
  - A secret is one file, named C(<name>.txt), of mode 0600, in a directory that is created with mode 0700. Put a value
    of your own there, in clear or encrypted with C(ansible-vault encrypt), and it is used.
  - A file in clear is read also if a vault password is configured; C(ansible-vault encrypt <directory>/*.txt) encrypts
    what was generated before the vault password existed. An encrypted file cannot be read without the vault password.
  - If the directory is created in a run without a vault password, it gets a C(.gitignore) that keeps the
    clear files out of a repository. Remove it once they are encrypted and you want them to be committed.
  - To replace a secret, delete its file and run the playbook again. The roles that use it decide how the service
    takes the new value.
  - Keep a copy of the directory. Without it, the next run gives new values to services that still have the old ones.
  - In check mode, a missing secret is a random value at every evaluation.
"""

EXAMPLES = r"""
- name: Give the database's administrator a password
  ansible.builtin.include_role:
    name: onprem.cloud.mariadb
  vars:
    mariadb_root_password: "{{ lookup('onprem.cloud.secret', 'mariadb_root') }}"

- name: Make a key of 64 hexadecimal digits
  ansible.builtin.set_fact:
    app_key: "{{ lookup('onprem.cloud.secret', 'app.key', length=64, chars='0123456789abcdef') }}"
  no_log: true

- name: Use the secret of a token that Proxmox VE made
  onprem.cloud.pve_info:
    api_host: 192.0.2.2
    api_user: automation@pve
    api_token_id: site
    api_token_secret: "{{ lookup('onprem.cloud.secret', 'pve_api_token_secret', generate=false) }}"
"""

RETURN = r"""
_raw:
  description: The secrets, in the order of the names.
  type: list
  elements: str
"""

import contextlib
import errno
import math
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleError, AnsibleLookupError
from ansible.parsing.vault import VaultLib, is_encrypted, match_encrypt_secret
from ansible.plugins.lookup import LookupBase

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
# Below this, a secret can be guessed by trying.
MINIMUM_BITS = 64


def generate(length: int, chars: str) -> str:
    """A random value; duplicates in chars must not make some characters likelier than others."""
    alphabet = "".join(dict.fromkeys(chars))
    if any(not char.isprintable() or char.isspace() for char in alphabet):
        raise AnsibleLookupError("A secret must not contain blanks or control characters: remove them from 'chars'.")
    if len(alphabet) < 2 or length * math.log2(len(alphabet)) < MINIMUM_BITS:
        raise AnsibleLookupError(
            f"A secret of {length} characters out of {len(alphabet)} is too weak: "
            f"raise 'length' or give more 'chars' (at least {MINIMUM_BITS} bits are needed)."
        )
    return "".join(secrets.choice(alphabet) for _position in range(length))


def inventory_directory(sources: Iterable[str]) -> Path:
    """Where the inventory is: the first source's directory."""
    source = next(iter(sources), "")
    path = Path(source)
    if source and path.is_dir():
        return path
    if path.is_file():
        return path.parent
    raise AnsibleLookupError(
        f"There is no place to keep secrets, as the inventory '{source}' is neither a file nor a directory: "
        "set the variable secrets_directory."
    )


def place(name: str, sources: Iterable[str]) -> Path:
    """The directory of this name that keeps the secrets of an inventory."""
    directory = Path(name or ".secrets").expanduser()
    return directory if directory.is_absolute() else inventory_directory(sources).absolute() / directory


class Store:
    """One directory of secrets, and the vault of the run."""

    def __init__(self, directory: Path, vault_secrets: list | None) -> None:
        self.directory = directory
        self.vault_secrets = vault_secrets or []

    def read(self, name: str) -> str | None:
        """The value, or None if there is none yet."""
        path = self.path(name)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AnsibleLookupError(
                f"The secret {path} cannot be read ({error.strerror}): make it readable for the user who runs Ansible."
            ) from error
        if is_encrypted(content):
            content = self._decrypt(path, content)
        try:
            value = content.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise AnsibleLookupError(f"The secret {path} is not UTF-8 text: put one line of text there.") from error
        if not value:
            raise AnsibleLookupError(
                f"The secret {path} is empty: put the value there, or delete the file to have a new one generated."
            )
        return value

    def write(self, name: str, value: str) -> str:
        """Keep the value unless somebody else was faster; return the one that is kept."""
        self._keep(name, value, os.link)
        kept = self.read(name)
        if kept is None:
            raise AnsibleLookupError(
                f"The secret {self.path(name)} was deleted while it was being made: run the playbook again."
            )
        return kept

    def replace(self, name: str, value: str) -> None:
        """Keep the value in place of the one that is kept."""
        self._keep(name, value, os.replace)

    def _keep(self, name: str, value: str, put: Callable[[str, Path], None]) -> None:
        path = self.path(name)
        content = self._encrypt(value) if self.vault_secrets else f"{value}\n".encode()
        try:
            self._create_directory()
            self._create_file(path, content, put)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                remedy = "let the variable secrets_directory name a directory whose filesystem knows hard links"
            else:
                remedy = "let the user who runs Ansible write there, or set the variable secrets_directory"
            raise AnsibleLookupError(f"The secret {path} cannot be written ({error.strerror}): {remedy}.") from error

    def path(self, name: str) -> Path:
        """The file of a secret."""
        if not NAME.fullmatch(name):
            raise AnsibleLookupError(
                f"'{name}' is no name of a secret: use lower-case letters, digits, '_', '.' and '-', "
                "the first one a letter or a digit."
            )
        return self.directory / f"{name}.txt"

    def _create_directory(self) -> None:
        if self.directory.is_dir():
            return
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.directory.mkdir(mode=0o700)
        except FileExistsError:
            return
        if not self.vault_secrets:
            (self.directory / ".gitignore").write_text("# Secrets in clear.\n*\n", encoding="utf-8")

    def _create_file(self, path: Path, content: bytes, put: Callable[[str, Path], None]) -> None:
        # mkstemp makes the file 0600. Its name starts with a dot, so that Ansible never reads it as an inventory.
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.stem}.", dir=self.directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                # A service may have the value for good a moment later: it must not be lost in a crash.
                os.fsync(file.fileno())
            # The file appears with its whole content. Unlike a rename, a link never replaces what is there.
            with contextlib.suppress(FileExistsError):
                put(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _encrypt(self, value: str) -> bytes:
        # The user's choice among several vault ids, as ansible-vault makes it.
        vault_id, secret = match_encrypt_secret(self.vault_secrets, encrypt_vault_id=C.DEFAULT_VAULT_ENCRYPT_IDENTITY)
        return VaultLib(self.vault_secrets).encrypt(value, secret=secret, vault_id=vault_id)

    def _decrypt(self, path: Path, content: bytes) -> bytes:
        if not self.vault_secrets:
            raise AnsibleLookupError(
                f"The secret {path} is encrypted and no vault password is configured: "
                "run with --vault-password-file or --ask-vault-pass."
            )
        try:
            return VaultLib(self.vault_secrets).decrypt(content)
        except AnsibleError as error:
            raise AnsibleLookupError(
                f"The secret {path} cannot be decrypted with the vault password of this run: "
                "run with the password that it was encrypted with."
            ) from error


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[str]:
        variables = variables or {}
        self.set_options(var_options=variables, direct=kwargs)
        store = Store(self._directory(variables, kwargs), self._vault_secrets())
        return [self._secret(store, term, bool(variables.get("ansible_check_mode"))) for term in terms]

    def _secret(self, store: Store, name: str, check_mode: bool) -> str:
        value = store.read(name)
        if value is not None:
            return value
        if not self.get_option("generate"):
            return ""
        value = generate(self.get_option("length"), self.get_option("chars"))
        return value if check_mode else store.write(name, value)

    def _directory(self, variables: Mapping[str, Any], kwargs: Mapping[str, Any]) -> Path:
        name = self.get_option("directory") or ""
        if "directory" not in kwargs and self._templar is not None:
            # What comes from a variable may be a template still.
            name = self._templar.template(name)
        return place(name, variables.get("ansible_inventory_sources", ()))

    def _vault_secrets(self) -> list | None:
        # ansible-core hands the vault's passwords to plugins in the loader only, whose attribute has had this name
        # from 2.4 on.
        return self._loader._vault.secrets
