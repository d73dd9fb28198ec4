# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role proxmox_access on a node of the served API, whose pvesh is a stand-in."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest
import yaml

from tests.contract.running import Node, Played, Run

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/proxmox_access"
DEFAULTS = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
PASSWORD, TOTP = "Vk3nQ0yT8cXw7Lp2Zr5s", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
ADA = {"name": "ada", "email": "ada@corp.example", "password": PASSWORD, "totp_secret": TOTP}
TOKENS = {
    "automation@pve!site": "pve_api_token_secret",
    "monitoring@pve!prometheus": "pve_monitoring_token_secret",
}


class Site:
    """A site of one node that knows root alone, and nobody else may do anything."""

    def __init__(self, api, directory: Path) -> None:
        api.pve.acl = {}
        self.api = api
        self.node = Node(
            api,
            directory,
            proxmox_access_administrators=[ADA],
            proxmox_access_api_host=api.pve.host,
            proxmox_access_api_port=api.pve.port,
            proxmox_access_ca_file="{{ inventory_dir }}/.secrets/pve-root-ca.pem",
        )
        self.secrets = self.node.inventory / ".secrets"

    def role(self, *arguments: str, **environment: str) -> Played:
        """Run the role; no secret is shown, and none is on a command line of the node."""
        play = {"roles": ["onprem.cloud.proxmox_access"]}
        authority = f"proxmox_access_authority={self.api.ca_path}"
        done = self.node.play(play, "-vvv", "--diff", "-e", authority, *arguments, **environment)
        told = {PASSWORD, TOTP, "otpauth:", *self.api.pve.apitokens.values(), *self.kept().values()}
        assert [word for word in told if word in done.output] == []
        assert [word for word in told if word in self.node.calls.read_text()] == []
        return done

    def converge(self, *arguments: str, **environment: str) -> Played:
        done = self.role(*arguments, **environment)
        assert done.code == 0, done.output
        return done

    def guests(self, *arguments: str, **environment: str) -> Played:
        """Run the guests' play for one container."""
        guest = {
            "guest_vmid": 101, "guest_address": "192.0.2.10/24", "guest_ostemplate": self.api.template,
            "guest_rootfs": {"storage": "local-lvm", "size": "4G"}, "guest_wait": False,
            "guest_known_hosts_file": str(self.node.directory / "known_hosts"),
        }  # fmt: skip
        login = {
            "pve_api_host": self.api.pve.host, "pve_api_user": "automation@pve", "pve_api_token_id": "site",
            "pve_api_token_secret": "{{ lookup('onprem.cloud.secret', 'pve_api_token_secret', generate=false) }}",
            "pve_api_ca_path": "{{ proxmox_access_ca_file }}",
        }  # fmt: skip
        every = {"vars": login, "children": {"containers": {"hosts": {"redis": guest}}}}
        (self.node.inventory / "guests.json").write_text(json.dumps({"all": every}))
        done = self.node.play(
            ROOT / "playbooks/guests.yml", "--tags", "guest", *arguments, PROXMOX_PORT=str(self.api.pve.port),
            **environment,
        )  # fmt: skip
        assert done.code == 0, done.output
        return done

    def kept(self) -> dict[str, str]:
        """The secrets that are kept, as their files have them."""
        return {path.stem: path.read_text().strip() for path in self.secrets.glob("*.txt")}


@pytest.fixture
def site(api, tmp_path) -> Site:
    return Site(api, tmp_path)


def names(tasks: list[str]) -> list[str]:
    """Tasks without the name of their role."""
    return [task.rpartition(" : ")[2] for task in tasks]


def token(api, name: str) -> dict[str, object]:
    userid, tokenid = name.split("!")
    return api.pve.user_tokens.get(userid, {}).get(tokenid)


def test_a_bare_node_gets_all_of_it_and_a_second_run_changes_nothing(api, site, run, container, machine):
    (site.node.directory / "password").write_text("correct\n")
    vault = {"ANSIBLE_VAULT_PASSWORD_FILE": str(site.node.directory / "password")}
    foreseen, guests_foreseen = site.converge("--check", **vault), site.guests("--check", **vault)
    assert api.changes() == []
    assert not site.secrets.exists()
    done = site.converge(**vault)
    assert done.changed == foreseen.changed
    assert len(done.changed) == 12

    pve = api.pve
    assert pve.members("administrators") == ["ada@pve"]
    assert pve.area("/access/users")["ada@pve"]["email"] == "ada@corp.example"
    assert pve.check_password("ada@pve", PASSWORD)
    assert [entry["description"] for entry in pve.factors["ada@pve"].values()] == ["Authenticator app"]
    assert pve.privileges("ada@pve", "/vms/100") >= {"VM.Allocate", "Permissions.Modify"}
    assert pve.privileges("automation@pve!site", "/vms/100") == set(DEFAULTS["proxmox_access_roles"][0]["privileges"])
    assert pve.privileges("monitoring@pve!prometheus", "/nodes/pve1") >= {"Sys.Audit"}
    assert not [name for name in pve.privileges("monitoring@pve!prometheus", "/") if not name.endswith(".Audit")]
    assert "root@pam" not in pve.factors
    for secret in TOKENS.values():
        path = site.secrets / f"{secret}.txt"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text().startswith("$ANSIBLE_VAULT;1.1;AES256\n")
    assert (site.secrets / "pve-root-ca.pem").read_text() == Path(api.ca_path).read_text()

    api.requests()
    assert site.converge(**vault).changed == []
    assert site.converge("--check", **vault).changed == []
    assert api.changes() == []

    # As root of the node where there is no token yet, and with the token once there is.
    of_root = ["Create, change and start the guests that only root of a node may have as they are"]
    assert names(guests_foreseen.changed) == of_root
    assert names(site.guests(**vault).changed) == ["Create, change and start the guests"]
    assert pve.ct(101).status == "running"

    # What the automation may do is enough for guests as the example has them.
    secret = pve.apitokens["automation@pve!site"]
    run.login = {"api_user": "automation@pve", "api_token_id": "site", "api_token_secret": secret}
    pve.store_file("local", "virtio-win.iso", 500 << 20, "iso")
    windows = machine(
        300,
        ostype="win11", machine="q35", bios="ovmf", cores=2, cpuunits=50, tags=["onprem"], onboot=True,
        efidisk0={"storage": "local-lvm", "efitype": "4m", "pre-enrolled-keys": True},
        tpmstate0={"storage": "local-lvm", "version": "v2.0"},
        net={"net0": {"model": "virtio", "bridge": "vmbr0"}},
        ide={"ide0": {"volume": "local:iso/virtio-win.iso", "media": "cdrom"}},
        boot="order=scsi0;ide0", state="started",
    )  # fmt: skip
    redis = container(100, state="started", cpuunits=200, onboot=True, protection=True, tags=["onprem"])
    run.fleet(redis, windows)
    more = {"memory": 2048, "cores": 2, "state": "stopped", "protection": False}
    run.fleet({**redis, **more, "rootfs": {"storage": "local-lvm", "size": 8}}, {**windows, **more})
    run.fleet({"vmid": 100, "type": "lxc", "state": "absent"}, {"vmid": 300, "type": "qemu", "state": "absent"})


def test_what_was_changed_by_hand_is_put_back_and_what_is_not_declared_is_left_alone(api, site, run: Run):
    pve = api.pve
    run("pve_role", {"roleid": "Automation", "privs": ["VM.Audit", "Permissions.Modify"]})
    run("pve_role", {"roleid": "Hands", "privs": ["VM.Audit"]})
    for group in DEFAULTS["proxmox_access_groups"]:
        run("pve_group", {"groupid": group["name"], "comment": group["comment"]})
    site.secrets.mkdir()
    for account in DEFAULTS["proxmox_access_accounts"]:
        given = {"userid": account["user"], "comment": account["comment"]}
        run("pve_user", {**given, "groups": account.get("groups", [])})
        # Separated from its user, and so without rights.
        made = run("pve_token", {**given, "tokenid": account["token"], "privsep": "role" in account})
        (site.secrets / f"{account['secret']}.txt").write_text(made["secret"])
    run("pve_token", {"userid": "automation@pve", "tokenid": "other"})
    run("pve_user", {"userid": "ada@pve", "email": "somebody@else.example", "enable": False, "comment": "?"})
    run("pve_user", {"userid": "grace@pve", "groups": ["administrators"], "comment": "made by hand"})
    run("pve_acl", {"path": "/", "roleid": "Administrator", "groups": ["administrators"], "propagate": False})
    run("pve_acl", {"path": "/", "roleid": "PVEAuditor", "groups": ["monitoring"]})
    run("pve_acl", {"path": "/vms/100", "roleid": "Hands", "users": ["grace@pve"]})
    pve.users["ada@pve"] = "what ada chose herself"
    own = {"id": "own", "type": "totp", "description": "tablet", "created": 9, "uri": "of her own"}
    pve.factors["ada@pve"] = {"own": own}
    secrets = site.kept()
    api.requests()
    changed = names(site.converge().changed)
    put_back = ["Set up roles", "Set up users", "Set up rights", "Say what the token is for", "Enroll second factors"]
    assert changed[:5] == put_back
    assert pve.privileges("automation@pve!site", "/") == set(DEFAULTS["proxmox_access_roles"][0]["privileges"])
    assert pve.members("administrators") == ["ada@pve", "grace@pve"]
    assert pve.area("/access/users")["ada@pve"]["email"] == "ada@corp.example"
    assert pve.area("/access/users")["grace@pve"]["comment"] == "made by hand"
    assert pve.rights["/", "Administrator", "administrators"]["propagate"] == 1
    assert pve.privileges("grace@pve", "/vms/100") == {"VM.Audit"}
    assert pve.area("/access/users")["ada@pve"].get("comment", "") == ""
    assert pve.factors["ada@pve"]["own"] == own
    assert len(pve.factors["ada@pve"]) == 2
    assert pve.check_password("ada@pve", "what ada chose herself")
    assert token(api, "automation@pve!other")
    assert site.kept() == secrets


def test_a_token_whose_secret_is_lost_is_made_anew_only_when_told_so(api, site, run: Run):
    run("pve_user", {"userid": "automation@pve"})
    run("pve_token", {"userid": "automation@pve", "tokenid": "site"})
    api.requests()
    lost = site.role()
    assert names(lost.failed) == ["Check that the secrets of the tokens are known"]
    message = " ".join(lost.output.split())
    renew = '{"proxmox_access_renew_tokens": ["automation@pve!site"]}'
    for words in ("pve1: the token automation@pve!site is there", "pve_api_token_secret.txt", f"'{renew}'"):
        assert words in message
    assert api.changes() == []
    site.converge("-e", renew)
    assert site.kept()["pve_api_token_secret"] == api.pve.apitokens["automation@pve!site"]

    (site.secrets / "pve_api_token_secret.txt").write_text("of-another-site\n")
    refused = site.role()
    assert names(refused.failed) == ["Verify that they work"]
    message = " ".join(refused.output.split())
    assert "refuses the API token 'automation@pve!site'" in message
    assert f"'{renew}'" in message


def test_a_token_whose_secret_could_not_be_kept_is_not_left_behind(api, site, run: Run):
    failed = site.role("-e", "secrets_directory=/proc/nobody-writes-here")
    message = " ".join(failed.output.split())
    assert "pve1: the token automation@pve!site could not be made and its secret be kept" in message
    assert "/proc/nobody-writes-here/pve_api_token_secret.txt cannot be written" in message
    assert [token(api, name) for name in TOKENS] == [None, None]
    # The controller went away before the secret was kept.
    unkept = yaml.safe_load((ROLE / "vars/main.yml").read_text())["proxmox_access_unkept"]
    run("pve_token", {"userid": "automation@pve", "tokenid": "site", "comment": unkept})
    site.converge()
    assert site.kept() == {secret: api.pve.apitokens[name] for name, secret in TOKENS.items()}
    assert token(api, "automation@pve!site")["comment"] == "Runs the playbooks"


def test_root_is_left_alone(api, site):
    accounts = [{"user": "root@pam", "token": "site", "secret": "one"}]
    refused = site.role("-e", json.dumps({"proxmox_access_accounts": accounts}))
    assert names(refused.failed) == ["Check what is declared"]
    assert "must not name root@pam" in " ".join(refused.output.split())
    assert api.requests() == []


def test_the_privileges_are_those_that_the_documentation_names():
    [automation] = [role for role in DEFAULTS["proxmox_access_roles"] if role["name"] == "Automation"]
    text = " ".join((ROOT / "README.md").read_text().split())
    named = re.search(r"role `Automation` has these privileges and no more: ([`\w., ]+)\. The", text)[1]
    assert sorted(re.findall(r"`([\w.]+)`", named)) == sorted(automation["privileges"])
