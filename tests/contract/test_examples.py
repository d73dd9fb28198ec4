# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of every module run as they stand: in check mode, for real, and again without a change.

A module is tried by being there. What its examples presuppose is made by a function here that is called before_ and
the module's name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from tests.contract import pvesh
from tests.contract.running import Run
from tests.contract.serving import GIB, SECRET, Api

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("pve_*.py"))
Values = dict[str, Any]

# What the examples take from the inventory and the vault.
VARIABLES = {
    "ansible_facts": {"hostname": "pve1"},
    "inventory_dir": "inventories/example",
    "vault_ada_password": "a password of ada",
    "vault_ada_totp_secret": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
    "vault_chat_key": "key-of-the-chat",
    "vault_cloudflare_token": "token-at-cloudflare",
    "vault_influxdb_token": "token-of-influxdb",
    "vault_ldap_bind_password": "password-of-ldap",
    "vault_otel_token": "token-of-otel",
    "vault_pbs_password": "password-of-pbs",
    "vault_pve_root_password": "what root types",
    "vault_pve_token_secret": SECRET,
    "vault_smtp_password": "password-of-smtp",
}
# Tasks that do something in every run, by the options that make them.
ACTIONS: dict[str, Values] = {"pve_backup": {}, "pve_restore": {"force": True}, "pve_snapshot": {"state": "rollback"}}


@dataclass
class Stage:
    """The lab that examples run in."""

    api: Api
    run: Run
    container: Callable[..., Values]
    start_api: Callable[[], Api]
    tmp_path: Path
    monkeypatch: pytest.MonkeyPatch
    variables: Values = field(default_factory=dict)
    hosts: dict[str, Api] = field(default_factory=dict)  # what the examples call the nodes

    def guests(self, *vmids: int, **options: Any) -> None:
        self.run.fleet(*(self.container(vmid, **options) for vmid in vmids))

    def file(self, name: str, text: str) -> Path:
        """A file that an example reads, in the home of its user."""
        path = self.tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def reached(self, options: Any) -> Any:
        """The options, with the nodes where they are."""
        if isinstance(options, list):
            return [self.reached(item) for item in options]
        if not isinstance(options, dict):
            return options
        found = {name: self.reached(value) for name, value in options.items()}
        if "api_host" in found:
            api = self.hosts.get(found["api_host"], self.api)
            found.update(api_host=api.pve.host, api_port=api.pve.port, ca_path=api.ca_path)
        return found


@pytest.fixture
def stage(api, run, container, start_api, tmp_path, monkeypatch) -> Stage:
    stage = Stage(api, run, container, start_api, tmp_path, monkeypatch, dict(VARIABLES))
    api.pve.apitokens["automation@pve!ansible"] = VARIABLES["vault_pve_token_secret"]
    api.pve.password = VARIABLES["vault_pve_root_password"]
    api.pve.add_node("pve2")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return stage


def examples(module: str) -> list[Values]:
    """The tasks of a module's examples."""
    text = importlib.import_module(f"ansible_collections.onprem.cloud.plugins.modules.{module}").EXAMPLES
    return DataLoader().load(trust_as_template(text)) or []


def played(task: Values, variables: Values) -> Iterator[Values]:
    """The task, once for each item of its loop, with its expressions filled in; nothing if it is skipped."""
    variables = {**variables, **task.get("vars", {})}
    items = Templar(DataLoader(), variables).template(task["loop"]) if "loop" in task else [None]
    for item in items:
        templar = Templar(DataLoader(), {**variables, "item": item})
        if templar.evaluate_conditional(task.get("when", True)):
            for key, value in task.items():
                if "." in key:
                    yield {key: templar.template(value)}


def always(module: str, options: Values) -> bool:
    """Whether the task does something in every run."""
    how = ACTIONS.get(module)
    return how is not None and how.items() <= options.items()


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_run_as_they_stand(module, stage):
    globals().get(f"before_{module}", lambda _: None)(stage)
    tried = set()
    for task in examples(module):
        results = []
        for play in played(task, stage.variables):
            name, options = next(iter(play.items()))
            if not name.startswith("onprem.cloud."):
                conditions = options.get("that", True) if name == "ansible.builtin.assert" else True
                assert Templar(DataLoader(), stage.variables).evaluate_conditional(conditions), task["name"]
                continue
            name, options = name.rpartition(".")[2], stage.reached(options)
            stage.run(name, options, check=True)
            results.append(stage.run(name, options))
            again = stage.run(name, options)
            assert again["changed"] == always(name, options), (task["name"], again.get("diff"))
            tried.add(name)
        if "register" in task and results:
            stage.variables[task["register"]] = {"results": results} if "loop" in task else results[0]
    assert module in tried


# --------------------------------------------------------------------------------- what examples presuppose


def before_pve_acme_domains(stage: Stage) -> None:
    stage.api.pve.acme_accounts["default"] = {}
    stage.run("pve_acme_plugin", {"id": "cloudflare", "type": "dns", "api": "cf", "data": {"CF_Token": "x"}})


def before_pve_acl(stage: Stage) -> None:
    stage.run("pve_group", {"groupid": "operators"})
    stage.run("pve_user", {"userid": "monitoring@pve"})
    stage.run("pve_token", {"userid": "monitoring@pve", "tokenid": "exporter"})


def before_pve_backup(stage: Stage) -> None:
    stage.guests(100)


def ceph(stage: Stage) -> None:
    """Ceph on three nodes, with a monitor and disks."""
    for node in ("pve1", "pve2", "pve3"):
        stage.api.pve.add_node(node)
        stage.api.pve.ceph_nodes.add(node)
    for module in ("pve_ceph_init", "pve_ceph_mon"):
        stage.run(module, {"node": "pve1"})


def before_pve_ceph_fs(stage: Stage) -> None:
    ceph(stage)
    stage.run("pve_ceph_mds", {"node": "pve1"})


def before_pve_ceph_init(stage: Stage) -> None:
    stage.api.pve.ceph_nodes.add("pve1")


def before_pve_ceph_osd(stage: Stage) -> None:
    ceph(stage)
    osd = {"host": "pve1", "status": "up", "in": 1, "device_class": "ssd", "disks": {}, "placed": True}
    stage.api.pve.osds.update({3: {**osd, "status": "down", "in": 0}, 4: osd})
    pvesh.stand_in(stage.api, stage.tmp_path, stage.monkeypatch)


before_pve_ceph_mds = before_pve_ceph_mgr = before_pve_ceph_mon = before_pve_ceph_pool = ceph


def before_pve_cluster(stage: Stage) -> None:
    tests = importlib.import_module("tests.contract.test_cluster")
    second = stage.start_api()
    second.pve.nodes = {"pve2": {"online": True}}
    second.pve.password = VARIABLES["vault_pve_root_password"]
    second.pve.reachable[stage.api.pve.host] = stage.api.pve
    del stage.api.pve.nodes["pve2"]
    made = tests.make_cert(str(stage.tmp_path), name="joined", hosts=(second.pve.host,))
    second.pve.next_certificate = made[:2]
    # It is trusted before and after.
    both = Path(second.ca_path).read_text() + Path(made[0]).read_text()
    second.ca_path = str(stage.file("both.pem", both))
    stage.hosts["192.0.2.12"] = second
    stage.variables["pve1_fingerprint"] = tests.fingerprint(stage.api.ca_path)


def before_pve_certificate(stage: Stage) -> None:
    tests = importlib.import_module("tests.contract.test_certificates")
    stage.file("pve1.example.com.crt", tests.CHAIN)
    stage.variables["vault_pve1_key"] = tests.KEY
    stage.api.pve.node_configs["pve1"] = {"acme": "account=office,domains=pve1.example.com"}
    stage.api.pve.acme_accounts["office"] = {}


def before_pve_firewall_options(stage: Stage) -> None:
    stage.guests(101)
    entries = [{"cidr": stage.api.pve.host.rpartition(".")[0] + ".0/24"}]
    stage.run("pve_firewall_ipset", {"name": "management", "entries": entries})


def before_pve_firewall_rules(stage: Stage) -> None:
    stage.guests(101)


def before_pve_fleet(stage: Stage) -> None:
    stage.file(
        ".ssh/id_ed25519.pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0uZUmFn1W6g1rJIZyL6b3xE6u0rGmQ1yQ0T3x1h2pM"
    )
    stage.api.pve.store_file("local", "debian-13.iso", GIB, "iso")
    stage.api.pve.storages["local-lvm"].update(total=500 * GIB, avail=500 * GIB)
    stage.guests(101, hostname="database-replica", cpulimit=1)


def before_pve_ha_group(stage: Stage) -> None:
    stage.api.pve.version = "8.4.14"


def before_pve_ha_resource(stage: Stage) -> None:
    stage.guests(101)


def before_pve_ha_rule(stage: Stage) -> None:
    stage.guests(101)
    stage.api.pve.add_vm(100, "web")
    for sid in ("vm:100", "ct:101"):
        stage.run("pve_ha_resource", {"sid": sid})


def before_pve_info(stage: Stage) -> None:
    stage.guests(100, tags=["web"], state="started")
    stage.run("pve_backup", {"vmid": 100, "storage": "local"})


def before_pve_lxc(stage: Stage) -> None:
    stage.api.pve.storages["tank"] = {"type": "zfspool", "active": 1, "content": "images,rootdir", "files": set()}
    pvesh.stand_in(stage.api, stage.tmp_path, stage.monkeypatch)


def before_pve_network(stage: Stage) -> None:
    for number in (2, 3, 4):
        stage.api.pve.add_interface("pve1", f"eno{number}")


def before_pve_qemu(stage: Stage) -> None:
    stage.api.pve.storages["local"]["content"] = "backup,import,iso,vztmpl"
    stage.api.pve.store_file("local", "debian-13-genericcloud-amd64.qcow2", 3 * GIB, "import")
    stage.api.pve.store_file("local", "windows-11.iso", 3 * GIB, "iso")
    stage.api.pve.area("/cluster/mapping/pci")["gpu"] = {"map": ["node=pve1,path=0000:01:00,id=10de:1234"]}


def before_pve_replication_job(stage: Stage) -> None:
    stage.guests(100)


def before_pve_restore(stage: Stage) -> None:
    stage.guests(100)
    made = stage.run("pve_backup", {"vmid": 100, "storage": "local", "compress": "zstd"})["archive"]
    volumes = stage.api.pve.storages["local"]["volumes"]
    volumes["backup/vzdump-lxc-100-2026_11_22-14_36_50.tar.zst"] = volumes[made.partition(":")[2]]
    stage.guests(100, state="absent")


def before_pve_sdn_subnet(stage: Stage) -> None:
    stage.run("pve_sdn_zone", {"zone": "lan", "type": "simple", "ipam": "pve", "dhcp": "dnsmasq"})
    stage.run("pve_sdn_vnet", {"vnet": "guests", "zone": "lan"})


def before_pve_sdn_vnet(stage: Stage) -> None:
    stage.run("pve_sdn_zone", {"zone": "office", "type": "vlan", "bridge": "vmbr0"})
    stage.run("pve_sdn_vnet", {"vnet": "fax", "zone": "office", "tag": 31})


def before_pve_snapshot(stage: Stage) -> None:
    stage.guests(100)
    stage.api.pve.add_vm(300, "web", status="running")


def before_pve_template(stage: Stage) -> None:
    stage.api.pve.add_appliance("debian-13-standard_13.1-2_amd64.tar.zst", (ROOT / "galaxy.yml").read_bytes())
    url = "https://downloads.example.com/company-base_1.0_amd64.tar.zst"
    stage.api.pve.downloads[url] = b""
    stage.api.pve.add_template(name="debian-12-standard_12.7-1_amd64.tar.zst")


def before_pve_tfa(stage: Stage) -> None:
    stage.run("pve_user", {"userid": "ada@pve"})


def before_pve_token(stage: Stage) -> None:
    stage.run("pve_user", {"userid": "automation@pve"})


def before_pve_user(stage: Stage) -> None:
    stage.run("pve_group", {"groupid": "operators"})
