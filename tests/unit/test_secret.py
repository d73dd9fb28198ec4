# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup plugin secret: generated once, whoever asks, however many at once."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
import string
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.plugins.loader import init_plugin_loader, lookup_loader

ROOT = Path(__file__).resolve().parents[2]

Lookup = Callable[..., str]


@pytest.fixture(scope="session", autouse=True)
def collection_loader() -> None:
    init_plugin_loader([str(ROOT / "collections")])


def run(inventory: Path, *names: str, password: str | None = None, check: bool = False, **options: object) -> list[str]:
    """What `lookup('onprem.cloud.secret', *names, **options)` returns in a run with that inventory."""
    loader = DataLoader()
    if password is not None:
        loader.set_vault_secrets([("default", VaultSecret(password.encode()))])
    plugin = lookup_loader.get("onprem.cloud.secret", loader=loader, templar=None)
    variables = {"ansible_inventory_sources": (str(inventory),), "ansible_check_mode": check}
    variables.update(options.pop("variables", {}))
    return plugin.run(list(names), variables=variables, **options)


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    directory = tmp_path / "inventory"
    directory.mkdir()
    (directory / "hosts.yml").write_text("all:\n  hosts:\n    guest:\n")
    return directory


def test_a_secret_is_generated_once(inventory: Path) -> None:
    first = run(inventory, "mariadb_root")
    assert first == run(inventory, "mariadb_root")
    assert len(first[0]) == 32
    assert set(first[0]) <= set(string.ascii_letters + string.digits)


def test_names_have_different_secrets(inventory: Path) -> None:
    one, other = run(inventory, "one", "other")
    assert one != other
    assert run(inventory, "other", "one") == [other, one]


def test_only_the_owner_can_read_it(inventory: Path) -> None:
    run(inventory, "mariadb_root")
    assert stat.S_IMODE((inventory / ".secrets").stat().st_mode) == 0o700
    assert stat.S_IMODE((inventory / ".secrets/mariadb_root.txt").stat().st_mode) == 0o600
    assert sorted(path.name for path in (inventory / ".secrets").iterdir()) == [".gitignore", "mariadb_root.txt"]


def test_the_inventory_may_be_a_file(inventory: Path) -> None:
    assert run(inventory / "hosts.yml", "one") == run(inventory, "one")


def test_length_and_characters(inventory: Path) -> None:
    [key] = run(inventory, "key", length=64, chars=string.hexdigits[:16])
    assert len(key) == 64
    assert set(key) <= set("0123456789abcdef")
    assert run(inventory, "key") == [key], "a secret that exists keeps its length"


@pytest.mark.parametrize(
    "options", [{"length": 8}, {"chars": "0"}, {"chars": "aaaa", "length": 500}, {"chars": "ab c"}]
)
def test_weak_secrets_are_refused(inventory: Path, options: dict[str, object]) -> None:
    with pytest.raises(AnsibleError, match=r"weak|blanks"):
        run(inventory, "pin", **options)
    assert not (inventory / ".secrets").exists()


@pytest.mark.parametrize("name", ["", "../up", "a/b", "Upper", ".hidden", "new\nline", "ümlaut", "a b"])
def test_names_are_validated(inventory: Path, name: str) -> None:
    with pytest.raises(AnsibleError, match="no name of a secret"):
        run(inventory, name)
    assert not (inventory / ".secrets").exists()


def test_the_directory_is_an_option_and_a_variable(inventory: Path, tmp_path: Path) -> None:
    run(inventory, "one", directory=str(tmp_path / "a" / "b"))
    assert (tmp_path / "a/b/one.txt").exists()
    run(inventory, "one", variables={"secrets_directory": "../c"})
    assert (tmp_path / "c/one.txt").exists()
    assert not (inventory / ".secrets").exists()


def test_an_inventory_without_a_directory_needs_the_variable(tmp_path: Path) -> None:
    with pytest.raises(AnsibleError, match="set the variable secrets_directory"):
        run(Path("guest,"), "one")
    assert run(Path("guest,"), "one", variables={"secrets_directory": str(tmp_path)})


def test_check_mode_writes_nothing(inventory: Path) -> None:
    [value] = run(inventory, "one", check=True)
    assert len(value) == 32
    assert not (inventory / ".secrets").exists()
    kept = run(inventory, "one")
    assert run(inventory, "one", check=True) == kept


def test_a_vault_password_encrypts_it(inventory: Path) -> None:
    value = run(inventory, "one", password="correct")
    content = (inventory / ".secrets/one.txt").read_text()
    assert content.startswith("$ANSIBLE_VAULT;1.1;AES256\n")
    assert value[0] not in content
    assert run(inventory, "one", password="correct") == value
    assert not (inventory / ".secrets/.gitignore").exists(), "encrypted secrets may be committed"


def test_a_clear_file_is_read_with_a_vault(inventory: Path) -> None:
    assert run(inventory, "one") == run(inventory, "one", password="correct")


def test_a_value_of_the_users_own(inventory: Path) -> None:
    (inventory / ".secrets").mkdir()
    (inventory / ".secrets/clear.txt").write_text("a value with blanks\n")
    vault = VaultLib([("team", VaultSecret(b"correct"))])
    (inventory / ".secrets/encrypted.txt").write_bytes(vault.encrypt("edited by hand\n", vault_id="team"))
    assert run(inventory, "clear", "encrypted", password="correct") == ["a value with blanks", "edited by hand"]


@pytest.mark.parametrize(
    ("password", "message"),
    [(None, "run with --vault-password-file"), ("wrong", "run with the password that it was encrypted with")],
)
def test_an_encrypted_secret_needs_its_password(inventory: Path, password: str | None, message: str) -> None:
    run(inventory, "one", password="correct")
    before = (inventory / ".secrets/one.txt").read_bytes()
    with pytest.raises(AnsibleError, match=message) as error:
        run(inventory, "one", password=password)
    assert str(inventory / ".secrets/one.txt") in str(error.value)
    assert (inventory / ".secrets/one.txt").read_bytes() == before


def test_what_cannot_be_read_is_named(inventory: Path) -> None:
    directory = inventory / ".secrets"
    (directory / "folder.txt").mkdir(parents=True)
    (directory / "empty.txt").write_text("\n")
    (directory / "binary.txt").write_bytes(b"\xff\xfe")
    for name, message in [("folder", "cannot be read"), ("empty", "is empty"), ("binary", "is not UTF-8")]:
        with pytest.raises(AnsibleError, match=message) as error:
            run(inventory, name)
        assert str(directory / f"{name}.txt") in str(error.value)


def test_what_cannot_be_written_is_named(inventory: Path) -> None:
    (inventory / ".secrets").write_text("a file where the directory should be")
    with pytest.raises(AnsibleError, match=r"one\.txt cannot be (read|written)"):
        run(inventory, "one")


def test_a_filesystem_without_hard_links_is_named(inventory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(AnsibleError, match="hard links"):
        run(inventory, "one")
    assert [path.name for path in (inventory / ".secrets").iterdir()] == [".gitignore"]


def ask(inventory: Path, password: str | None, start, answers) -> None:
    start.wait()
    answers.put(run(inventory, "shared", password=password)[0])


@pytest.mark.parametrize("password", [None, "correct"])
def test_many_at_once_get_the_same_value(inventory: Path, password: str | None) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(5):
        start, answers = context.Barrier(12), context.SimpleQueue()
        workers = [context.Process(target=ask, args=(inventory, password, start, answers)) for _number in range(12)]
        for worker in workers:
            worker.start()
        values = {answers.get() for _worker in workers}
        for worker in workers:
            worker.join()
        assert len(values) == 1, f"attempt {attempt}"
        (inventory / ".secrets/shared.txt").unlink()
    assert [path.name for path in (inventory / ".secrets").iterdir()] == ([] if password else [".gitignore"])


PLAYBOOK = """
- hosts: all
  gather_facts: false
  connection: local
  tasks:
    - ansible.builtin.copy:
        content: "{{ lookup('onprem.cloud.secret', 'shared') }}"
        dest: "{{ playbook_dir }}/{{ inventory_hostname }}.value"
        mode: "0600"
"""


def test_ansible_gives_every_host_the_same(inventory: Path, tmp_path: Path) -> None:
    """With real forks, a vault password, and a directory that is a template."""
    names = [f"guest{number}" for number in range(8)]
    (inventory / "hosts.yml").write_text("all:\n  hosts:\n" + "".join(f"    {name}:\n" for name in names))
    (inventory / "group_vars").mkdir()
    (inventory / "group_vars/all.yml").write_text("company: acme\nsecrets_directory: '.{{ company }}'\n")
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    (tmp_path / "password").write_text("correct\n")
    environment = os.environ | {
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_CONFIG": str(tmp_path / "none.cfg"),
        "ANSIBLE_VAULT_PASSWORD_FILE": str(tmp_path / "password"),
    }
    (tmp_path / "none.cfg").write_text("")
    command = ["ansible-playbook", "--forks", "8", "-i", str(inventory), str(tmp_path / "play.yml")]
    command += ["--extra-vars", "ansible_python_interpreter={{ ansible_playbook_python }}"]
    subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    values = {(tmp_path / f"{name}.value").read_text() for name in names}
    assert len(values) == 1
    assert (inventory / ".acme/shared.txt").read_text().startswith("$ANSIBLE_VAULT")
    again = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert "changed=0" in again.stdout
    assert "changed=1" not in again.stdout
    assert "Unable to parse" not in again.stderr, "the secrets are no part of the inventory"


def test_what_somebody_else_makes_is_not_generated(inventory: Path) -> None:
    assert run(inventory, "token", generate=False) == [""]
    assert not (inventory / ".secrets").exists()
    [value] = run(inventory, "token")
    assert run(inventory, "token", generate=False) == [value]


KEEPING = """
- hosts: all
  gather_facts: false
  tasks:
    - onprem.cloud.secret:
        name: "{{ name | default('token') }}"
        value: "{{ value }}"
      register: kept
      no_log: true
    - ansible.builtin.debug:
        msg: "{{ kept.path }} {{ lookup('onprem.cloud.secret', 'token', generate=false) == value }}"
"""


def keep(inventory: Path, value: str, *options: str, **environment: str) -> tuple[int, str]:
    """Run the module for a host that nobody could log in to."""
    (inventory.parent / "keep.yml").write_text(KEEPING)
    (inventory.parent / "value.json").write_text(json.dumps({"value": value}))
    command = ["ansible-playbook", "-vvv", "--diff", "-i", str(inventory), "-e", f"@{inventory.parent}/value.json"]
    done = subprocess.run(
        [*command, *options, str(inventory.parent / "keep.yml")],
        env=os.environ | {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert value.strip() not in done.stdout
    return done.returncode, done.stdout


def test_what_something_else_has_made_is_kept(inventory: Path) -> None:
    path = inventory / ".secrets/token.txt"
    code, output = keep(inventory, "made-elsewhere", "--check")
    assert (code, "changed=1" in output, path.exists()) == (0, True, False)
    code, output = keep(inventory, "made-elsewhere")
    assert (code, "changed=1" in output, f"{path} True" in output) == (0, True, True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "changed=0" in keep(inventory, "made-elsewhere")[1]
    (inventory.parent / "password").write_text("correct\n")
    assert "True" in keep(inventory, "another", ANSIBLE_VAULT_PASSWORD_FILE=str(inventory.parent / "password"))[1]
    assert run(inventory, "token", password="correct") == ["another"]
    assert path.read_text().startswith("$ANSIBLE_VAULT;1.1;AES256\n")
    assert sorted(name.name for name in path.parent.iterdir()) == [".gitignore", "token.txt"]


def test_what_cannot_be_kept_leaves_the_one_before(inventory: Path) -> None:
    [before] = run(inventory, "token")
    for value, options in (("two\nlines", ()), ("made-elsewhere", ("-e", "name=../up"))):
        assert keep(inventory, value, *options)[0] != 0
    assert run(inventory, "token") == [before]
    assert [path.name for path in inventory.parent.iterdir() if path.name.startswith("up")] == []
