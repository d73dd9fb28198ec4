# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret that a module is given turns up where it does not belong.

The modules and their secrets are found by asking the modules; each secret is a word that is nowhere else.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract import pvesh, test_examples
from tests.contract.test_examples import MODULES, ROOT, Stage, examples, played
from tests.contract.test_examples import stage as stage  # the fixture

Values = dict[str, Any]


def word(name: str) -> str:
    """A secret that is base32, and long enough for a password."""
    return base64.b32encode(hashlib.sha256(name.encode()).digest()[:15]).decode()


# What the examples do not have: an object that takes the secret.
FITTING = {
    "pve_acme_account.eab_hmac_key": {
        "name": "customers",
        "contact": ["admin@example.com"],
        "directory": "https://acme.example.com/directory",
        "eab_kid": "customer-7",
    },
    "pve_fleet.guests.password": {
        "guests": [
            {
                "vmid": 150,
                "node": "pve1",
                "hostname": "guest-150",
                "ostemplate": "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst",
                "rootfs": "local-lvm:4",
            }
        ]
    },
    "pve_fleet.guests.cipassword": {
        "guests": [{"vmid": 350, "type": "qemu", "node": "pve1", "hostname": "guest-350", "memory": 512}]
    },
    "pve_qemu.cipassword": {"vmid": 351, "node": "pve1", "hostname": "guest-351", "memory": 512},
    "pve_metric_server.token": {"id": "m1", "type": "influxdb", "server": "192.0.2.9", "port": 8086},
    "pve_notification_endpoint.token": {"name": "n1", "type": "gotify", "server": "https://192.0.2.9"},
    "pve_realm.client_key": {"realm": "r1", "type": "openid", "issuer_url": "https://192.0.2.9", "client_id": "pve"},
    "pve_storage.encryption_key": {"storage": "s1", "type": "pbs", "server": "192.0.2.9", "datastore": "main"},
    "pve_storage.keyring": {"storage": "s2", "type": "rbd", "pool": "rbd"},
    "pve_storage.master_pubkey": {"storage": "s3", "type": "pbs", "server": "192.0.2.9", "datastore": "main"},
    "pve_user.keys": {"userid": "grace@pve"},
}
# Refused before anything is sent: it is not a key.
NOT_SENT = {"pve_certificate.key"}
# With pvesh, by its standard input.
BY_INPUT = {"pve_tfa", "pve_user"}


# The login of a node that joins a cluster is a secret as well.
ROOT_PASSWORD = word("pve_cluster.peer.api_password")


class Asked(Exception):
    """Carries the options of a module."""


def options_of(module: str) -> Values:
    """The options as the module declares them."""
    found = importlib.import_module(f"ansible_collections.onprem.cloud.plugins.modules.{module}")

    def ask(argument_spec: Values, **_: Any) -> None:
        raise Asked(argument_spec)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(found, "AnsibleModule", ask)
        with pytest.raises(Asked) as asked:
            found.main()
    return asked.value.args[0]


def secrets_in(spec: Values, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """The path of every option that is a secret, and its type."""
    for name, option in spec.items():
        if option.get("no_log"):
            yield (*above, name), option.get("type", "str")
        yield from secrets_in(option.get("options", {}), (*above, name))


def put(options: Values, path: tuple[str, ...], value: Any) -> Values:
    """The options with a value in its place, in every item of a list."""
    name, *rest = path
    if not rest:
        return {**options, name: value}
    inner = options.get(name) or {}
    below = [put(item, tuple(rest), value) for item in inner] if isinstance(inner, list) else put(inner, rest, value)
    return {**options, name: below}


class Hunt:
    """The secrets of every module, and tasks that pass them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.secrets: dict[str, tuple[str, tuple[str, ...], str]] = {}
        connection = importlib.import_module("ansible_collections.onprem.cloud.plugins.module_utils.pve.client")
        for module in MODULES:
            for path, kind in secrets_in(options_of(module)):
                if path[0] not in connection.connection_spec():
                    self.secrets[f"{module}.{'.'.join(path)}"] = (module, path, kind)

    @property
    def modules(self) -> list[str]:
        return sorted({module for module, _, _ in self.secrets.values()})

    def base(self, name: str) -> Values:
        """Options that a secret is added to: of an example that has it, or of the module's first one."""
        module, path, _ = self.secrets[name]
        if name in FITTING:
            return dict(FITTING[name])
        found = []
        for task in examples(module):
            for play in played(task, self.stage.variables):
                options = play.get(f"onprem.cloud.{module}")
                if options is not None:
                    kept = options.get("api_host") in self.stage.hosts
                    options = self.stage.reached(options)
                    own = [
                        key
                        for key in options
                        if key.startswith(("api_", "ca_")) and not (kept and key != "api_password")
                    ]
                    found.append({key: value for key, value in options.items() if key not in own})
        return next((options for options in found if path[0] in options), found[0])

    def value(self, name: str) -> Any:
        """What the option is given: a reference for a playbook."""
        secret = f"{{{{ secrets['{name}'] }}}}"
        return {"str": secret, "list": [secret]}.get(self.secrets[name][2], {"key": secret})

    def tasks(self) -> Iterator[tuple[str, Values]]:
        """Every module with all of its secrets at once, and with each by itself."""
        for module in self.modules:
            names = [name for name in self.secrets if name.startswith(f"{module}.")]
            without = self.base(names[0])
            for name in names:
                without = put(without, self.secrets[name][1], self.value(name))
            yield module, without
            for name in names if len(names) > 1 else ():
                options = self.base(name)
                for other in names:
                    if len(self.secrets[other][1]) == 1:
                        options.pop(self.secrets[other][1][0], None)
                yield module, put(options, self.secrets[name][1], self.value(name))


@pytest.fixture
def hunt(stage) -> Hunt:
    stage.api.pve.password = ROOT_PASSWORD
    hunt = Hunt(stage)
    for module in hunt.modules:
        getattr(test_examples, f"before_{module}", lambda _: None)(stage)
    return hunt


class Playbook(yaml.SafeDumper):
    """Writes what looks like a template and is none, as some examples have it, so that nobody takes it for one."""

    def text(self, value: str) -> yaml.Node:
        plain = "{{" not in value or "secrets[" in value
        return self.represent_scalar("tag:yaml.org,2002:str" if plain else "!unsafe", value)


Playbook.add_representer(str, Playbook.text)


def carried(text: str) -> set[str]:
    """Every word of a body, within base64 as well."""
    text = urllib.parse.unquote(urllib.parse.unquote(text))
    words = set(re.findall(r"[A-Z2-7]{24}", text))
    for coded in re.findall(r"[A-Za-z0-9+/]{32,}={0,2}", text):
        try:
            words |= set(re.findall(r"[A-Z2-7]{24}", base64.b64decode(coded).decode()))
        except ValueError:
            continue
    return words


def test_a_playbook_shows_no_secret(hunt, tmp_path):
    stage = hunt.stage
    urls, bodies = [], []
    for api in (stage.api, *stage.hosts.values()):

        def note(request: Any, body: bytes) -> None:
            urls.append(str(request.rel_url))
            bodies.append(body.decode())

        api.pve._record = note
    login = {"api_password": ROOT_PASSWORD, "api_token_secret": word("api_token_secret")}
    tasks = [
        {"name": f"{number} {module}", f"onprem.cloud.{module}": options, "ignore_errors": True}
        for number, (module, options) in enumerate(hunt.tasks())
    ]
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "module_defaults": {"group/onprem.cloud.pve": "{{ secrets['api'] }}"},
        "tasks": tasks,
    }
    secrets = {name: word(name) for name in hunt.secrets}
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_remote_tmp": str(tmp_path / "left/remote"),
        "secrets": {**secrets, "api": {**stage.api.connection, **login}},
    }
    (tmp_path / "left/local").mkdir(parents=True)
    (tmp_path / "play.yml").write_text(yaml.dump(json.loads(json.dumps([play])), Dumper=Playbook))
    (tmp_path / "variables.json").write_text(json.dumps(variables))
    (tmp_path / "ansible.cfg").write_text("")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment.update(
        ANSIBLE_CONFIG=str(tmp_path / "ansible.cfg"),
        ANSIBLE_COLLECTIONS_PATH=str(ROOT / "collections"),
        ANSIBLE_LOCAL_TEMP=str(tmp_path / "left/local"),
        ANSIBLE_NOCOLOR="1",
        TMPDIR=str(tmp_path / "left"),
    )
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [program, "-vvvv", "--diff", "-i", "localhost,", "-e", f"@{tmp_path}/variables.json"]
    done = subprocess.run(
        [*command, str(tmp_path / "play.yml")],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    assert f"ok={len(tasks)} " in done.stdout
    left = [path.read_text(errors="replace") for path in (tmp_path / "left").rglob("*") if path.is_file()]
    places = {"stdout": done.stdout, "stderr": done.stderr, "URLs": "\n".join(urls), "files": "\n".join(left)}
    shown = [
        (name, place)
        for name, secret in {**secrets, **login}.items()
        for place, text in places.items()
        if secret in text or secret in carried(text)
    ]
    assert shown == []
    # Each of them has been on its way: in the body of a request.
    sent = set().union(*map(carried, bodies))
    assert {name for name, secret in secrets.items() if secret not in sent} == NOT_SENT


def test_no_secret_is_on_the_command_line_of_pvesh(hunt, tmp_path, monkeypatch):
    stage = hunt.stage
    calls = pvesh.stand_in(stage.api, tmp_path, monkeypatch)
    refused = set()
    for module, options in hunt.tasks():
        text = re.sub(r"\{\{ secrets\['([\w.]+)'\] \}\}", lambda match: word(match[1]), json.dumps(options))
        given = {name: value for name, value in json.loads(text).items() if name not in ("api_host", "api_port")}
        result = stage.run.any(module, {**given, "api_backend": "local"})
        if "command line" in result.get("msg", "") or "process list" in result.get("msg", ""):
            refused.add(module)
    assert [name for name in hunt.secrets if word(name) in calls.read_text()] == []
    assert [name for name in hunt.secrets if word(name) in stage.run.output] == []
    assert calls.read_text()
    assert refused == set(hunt.modules) - BY_INPUT
