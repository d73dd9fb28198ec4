# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users of community.proxmox suffer from, tried with its modules and with those of onprem.cloud (`make traps`).

A trap is a state of the API, the tasks that a user of either collection would write for it, and one judge for both,
who sees results, requests and what the API holds afterwards. docs/traps.md is written from what was seen; the exit
code is 1 if this collection falls into one of its traps.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import requests
import yaml
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
PAGE = ROOT / "docs/traps.md"
SIDES = ("onprem.cloud", "community.proxmox")
PROCESSES = 4

running = importlib.import_module("tests.contract.running")
serving = importlib.import_module("tests.contract.serving")

Values = dict[str, Any]


class Task(NamedTuple):
    """A task of a playbook."""

    module: str
    options: Values
    check: bool = False


class Fact(NamedTuple):
    """Something that was seen, and whether it is as it should be."""

    good: bool
    words: str


@dataclass
class Seen:
    """What the tasks of one side did."""

    api: Any
    results: list[Values] = field(default_factory=list)
    requests: list[list[Any]] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)  # seconds of each pause that the modules made

    @property
    def words(self) -> str:
        """What the last task ended with."""
        return str(self.results[-1].get("msg"))

    def asked(self, method: str, path: str) -> int:
        return sum((request.method, request.path) == (method, path) for task in self.requests for request in task)

    def says(self, changed: bool, task: int = -1) -> Fact:
        """The task ended well and said so."""
        result = self.results[task]
        if result.get("failed"):
            # Without the address, which is another one each time, and without what follows the first sentence.
            first = re.split(r"\. |\n| - ", re.sub(r"HTTPSConnectionPool\([^)]*\): ", "", result["msg"]))[0].rstrip(".")
            return Fact(False, f'fails with "{first}"')
        if result.get("skipped"):
            return Fact(False, "does not run in check mode")
        return Fact(result["changed"] is changed, "says changed" if result["changed"] else "says unchanged")

    def quiet(self, task: int = -1) -> Fact:
        """The task wrote nothing."""
        writes = sum(request.method != "GET" for request in self.requests[task])
        return Fact(not writes, f"sends {count(writes, 'write')}" if writes else "writes nothing")

    def read(self, path: str) -> Any:
        """What the API has now."""
        return ask(self.api, "GET", path)

    def lxc(self) -> Values:
        return self.read(f"{NODE}/lxc/100/config")

    def vm(self) -> Values:
        return self.read(f"{NODE}/qemu/300/config")


Before = Callable[[Any], Any]
Judge = Callable[[Seen], Iterator[Fact]]


@dataclass(frozen=True)
class Trap:
    """A state of the API, what a user of either collection writes, and what is right."""

    name: str
    tests: tuple[str, ...]  # those of tests/contract that hold it
    before: tuple[Before, ...]
    ours: tuple[Task, ...]
    theirs: tuple[Task, ...]
    judge: Judge


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def either(good: bool, yes: str, no: str) -> Fact:
    return Fact(good, yes if good else no)


PAGE_TEMPLATE = """\
# What users of other tools suffer from

Each line is a state of the API, a task that a user writes for it, and what the task does. Both collections run against
the same served API, which checks every request by Proxmox VE's schema and answers as recorded of Proxmox VE 9; one
judge looks at what the task said, what it sent and what the API holds afterwards. `make traps` does this anew and
writes this page, and in this collection each trap is held by the contract tests that the last column names.

Of {traps} traps, `onprem.cloud` is safe from {ours} and `community.proxmox` {peer}, the one in the package `ansible`
{package}, from {theirs}.

{table}

Not here: the connection plugin `onprem.cloud.pct`, which needs a node with containers and is measured beside the peer's
in the lab (`tests/lab`).
"""

# -------------------------------------------------------------------------------- states of the API

NODE = "/nodes/pve1"
NET0 = "name=eth0,bridge=vmbr0,gw=192.0.2.254,ip=192.0.2.101/24,type=veth"
SSH = {"type": "in", "action": "ACCEPT", "proto": "tcp", "dport": "22"}
BY_HAND = {"type": "in", "action": "DROP", "source": "198.51.100.7"}
TEMPLATE = "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst"
LAN = {"zone": "lan", "type": "simple", "mtu": 1400, "nodes": "pve1"}
MAC = "BC:24:11:AA:BB:CC"
PRINT = ":".join(["AB"] * 32)


def ask(api: Any, method: str, path: str, values: Values | None = None) -> Any:
    """A request of another administrator, who logs in as root and has neither of the collections."""
    base = f"https://{api.pve.host}:{api.pve.port}/api2/json"
    with requests.Session() as session:
        session.trust_env, session.verify = False, api.ca_path
        login = {"username": api.pve.user, "password": api.pve.password}
        ticket = session.post(f"{base}/access/ticket", login, timeout=30).json()["data"]
        session.cookies["PVEAuthCookie"] = ticket["ticket"]
        session.headers["CSRFPreventionToken"] = ticket["CSRFPreventionToken"]
        answer = session.request(method, base + path, data=values, timeout=30)
    if not answer.ok:
        raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
    return answer.json()["data"]


def sent(method: str, path: str, values: Values) -> Before:
    return lambda api: ask(api, method, path, values)


def container(vmid: int = 100, **options: Any) -> Before:
    given = {
        "vmid": vmid,
        "hostname": f"guest-{vmid}",
        "ostemplate": TEMPLATE,
        "rootfs": "local-lvm:8",
        "net0": NET0,
        "unprivileged": 1,
    }
    return sent("POST", f"{NODE}/lxc", {**given, **options})


def machine(**options: Any) -> Before:
    given = {"vmid": 300, "name": "machine-300", "cores": 2, "memory": 1024}
    return sent("POST", f"{NODE}/qemu", {**given, **options})


STARTED = sent("POST", f"{NODE}/lxc/100/status/start", {})
WHOLE = machine(
    bios="ovmf",
    net0=f"virtio={MAC},bridge=vmbr0",
    scsihw="virtio-scsi-single",
    scsi0="local-lvm:8",
    efidisk0="local-lvm:1,efitype=4m,pre-enrolled-keys=1",
    tpmstate0="local-lvm:1,version=v2.0",
)
JOB = sent(
    "POST", "/cluster/backup", {"id": "nightly", "schedule": "02:30", "storage": "local", "vmid": "100", "enabled": 1}
)
USER = sent("POST", "/access/users", {"userid": "ops@pve"})
PBS = {"server": "192.0.2.9", "datastore": "main", "username": "backup@pbs", "password": "Correct-Horse-7"}


def ending(kind: str, **how: Any) -> Before:
    """The next task of Proxmox VE of this kind ends so."""
    return lambda api: api.pve.plan_task(kind, **how)


def lasting(kind: str, seconds: float) -> Before:
    """Tasks of Proxmox VE of this kind take so long."""

    def last(api: Any) -> None:
        api.pve.time_scale = 1.0
        api.pve.ct_secs[kind] = seconds

    return last


def slow_answers(api: Any) -> None:
    """Creating a container is answered after six seconds, as a busy node does."""
    task = api.pve.task

    async def slow(node: str, kind: str, *args: Any, **kwargs: Any) -> Any:
        if kind == "vzcreate":
            await asyncio.sleep(6)
        return await task(node, kind, *args, **kwargs)

    api.pve.task = slow


def asked_at_once(api: Any) -> None:
    """Everybody who asks for a free id has asked before anybody created anything."""
    answer = api.pve.answer

    async def first(request: Any, match: Any, *args: Any) -> Any:
        return "100" if match.template == "/cluster/nextid" else await answer(request, match, *args)

    api.pve.answer = first


# --------------------------------------------------------------------------------------- the tasks


def lxc(vmid: int = 100, check: bool = False, **options: Any) -> Task:
    """A container by this collection."""
    return Task("pve_lxc", {"vmid": vmid, "hostname": f"guest-{vmid}", **options}, check)


def proxmox(vmid: int | None = 100, check: bool = False, **options: Any) -> Task:
    """A container by the peer's."""
    return Task("proxmox", {"vmid": vmid, "node": "pve1", "hostname": f"guest-{vmid}", **options}, check)


def qemu(check: bool = False, **options: Any) -> Task:
    """A virtual machine by this collection."""
    return Task("pve_qemu", {"vmid": 300, "hostname": "machine-300", **options}, check)


def kvm(check: bool = False, **options: Any) -> Task:
    """A virtual machine by the peer's."""
    return Task("proxmox_kvm", {"vmid": 300, "node": "pve1", "name": "machine-300", **options}, check)


NEW = {"node": "pve1", "ostemplate": TEMPLATE, "rootfs": "local-lvm:8", "net": {"net0": NET0}}
PEERS_NEW = {"ostemplate": TEMPLATE, "disk": "local-lvm:8", "netif": {"net0": NET0}}
PASSWORD = {"api_token_id": None, "api_token_secret": None, "api_password": "secret"}


# -------------------------------------------------------------------------------------- the judges


def turned_off(option: str, key: str) -> Judge:
    def judge(seen: Seen) -> Iterator[Fact]:
        yield seen.says(True)
        yield either(option not in seen.lxc()[key], f"`{option}` is gone from {key}", f"`{option}` stays in {key}")

    return judge


def grown(seen: Seen) -> Iterator[Fact]:
    yield seen.says(True)
    resized = sum(task["type"] == "resize" for task in seen.api.pve.tasklog)
    yield either(resized == 1, "the volume is resized", "the volume is not resized")
    yield either("size=16G" in seen.lxc()["rootfs"], "the configuration says 16G", "the configuration says 8G")


def unchanged(seen: Seen) -> Iterator[Fact]:
    yield seen.says(False)


def nothing_to_do(seen: Seen) -> Iterator[Fact]:
    yield seen.says(False)
    yield seen.quiet()


def network_left_alone(seen: Seen) -> Iterator[Fact]:
    yield from nothing_to_do(seen)
    times = seen.asked("PUT", "/cluster/sdn")
    yield either(not times, "reloads no node", f"applies the configuration of all nodes {count(times, 'time')}")


def drift_of_a_vm(seen: Seen) -> Iterator[Fact]:
    yield seen.says(True)
    yield either(seen.vm()["cores"] == 4, "the cores are as wanted", "the cores stay as they were")


def kept_devices(seen: Seen) -> Iterator[Fact]:
    config = seen.vm()
    yield seen.says(True)
    yield either(MAC in config["net0"], "the card keeps its MAC address", "the card has another MAC address")
    unused = sum(key.startswith("unused") for key in config)
    yield either(not unused, "every disk stays attached", f"{count(unused, 'disk')} replaced by empty ones")


def storage_content(seen: Seen) -> Iterator[Fact]:
    yield seen.says(False, 0)
    yield seen.quiet(0)
    content = set(seen.read("/storage/d1")["content"].split(","))
    yield seen.says(True, 1)
    yield either(content == {"backup", "iso"}, "other content is set", "other content is not set")


def kept_token(seen: Seen) -> Iterator[Fact]:
    yield seen.says(True)
    kept = [token["tokenid"] for token in seen.read("/access/users/ops@pve/token")] == ["deploy"]
    yield either(kept, "the token is kept", "the token is gone")


def no_propagation(seen: Seen) -> Iterator[Fact]:
    yield seen.says(True, 0)
    yield seen.says(False)
    right = [entry["propagate"] for entry in seen.read("/access/acl") if entry["path"] == "/vms"] == [0]
    yield either(right, "it does not propagate any more", "it still propagates")


def rule_by_hand(seen: Seen) -> Iterator[Fact]:
    rules = seen.read("/cluster/firewall/rules")
    times = sum(rule.get("dport") == SSH["dport"] for rule in rules)
    yield either(times == 1, "the rule is there once", f"the rule is there {count(times, 'time')}")
    kept = any((rule["action"], rule.get("source")) == ("DROP", BY_HAND["source"]) for rule in rules)
    yield either(kept, "the other rule is kept", "the other rule is overwritten")


def one_rule_changed(seen: Seen) -> Iterator[Fact]:
    yield seen.says(True)
    writes = sum(request.method == "PUT" for request in seen.requests[-1])
    yield either(writes == 1, "changed by one write", f"changed by {count(writes, 'write')}")
    rule = seen.read("/cluster/firewall/rules/0")
    right = (rule.get("comment"), rule.get("log")) == ("office", "info")
    yield either(right, "both options are as wanted", "the options are not as wanted")


def predicted(seen: Seen) -> Iterator[Fact]:
    yield seen.says(True)
    yield seen.quiet()


def job_is_there(seen: Seen) -> Iterator[Fact]:
    yield seen.says(True)
    job = next(iter(seen.read("/cluster/backup")), {})
    yield either(job.get("schedule") == "02:30", "the job has its schedule", "there is no job with a schedule")
    yield either("keep-last" in str(job.get("prune-backups")), "and its retention", "nor with a retention")


def failed_at_once(seen: Seen) -> Iterator[Fact]:
    yield either(sum(seen.slept) < 3, "fails at once", "waits its whole timeout")
    yield either("exit code 2" in seen.words, "gives the reason", "does not give the reason")
    yield either("timeout" not in seen.words.lower(), "blames the task", "blames a timeout")
    yield either("failure status" in seen.words, "shows the end of the log", "shows the first line of the log")


def warned(seen: Seen) -> Iterator[Fact]:
    yield seen.says(True)
    yield either(sum(seen.slept) < 3, "goes on at once", "waits its whole timeout")


def created(*vmids: int) -> Judge:
    def judge(seen: Seen) -> Iterator[Fact]:
        for task in range(len(seen.results)):
            yield seen.says(True, task)
        there = sorted(made["vmid"] for made in seen.read(f"{NODE}/lxc"))
        words = "every container is there" if len(vmids) > 1 else "the container is there"
        yield either(there == list(vmids), words, f"{len(there)} of {count(len(vmids), 'container')} there")

    return judge


def one_meaning(seen: Seen) -> Iterator[Fact]:
    config = seen.lxc()
    yield seen.says(False)
    limits = {name: config[name] for name in ("cpulimit", "cpuunits") if name in config}
    words = ", ".join(f"{name} {float(value):g}" for name, value in limits.items())
    yield Fact(list(limits) == ["cpulimit"], f"the container has {words}")


def told_that_it_runs(seen: Seen) -> Iterator[Fact]:
    yield either(bool(seen.results[-1].get("failed")), "refuses", seen.says(False).words)
    yield either("running" in seen.words, "says that it runs", "does not say why")
    there = bool(seen.read("/cluster/resources?type=vm"))
    yield Fact(bool(seen.results[-1].get("failed")) is there, "the guest is still there" if there else "it is gone")


def frugal(seen: Seen) -> Iterator[Fact]:
    total = sum(map(len, seen.requests))
    yield Fact(not any(result["changed"] for result in seen.results), "says unchanged")
    yield Fact(total <= 16, count(total, "request"))
    yield Fact(seen.asked("GET", "/version") < 2, f"{seen.asked('GET', '/version')} of them for the version")
    yield Fact(seen.asked("POST", "/access/ticket") < 2, count(seen.asked("POST", "/access/ticket"), "login"))


def briefly_asleep(seen: Seen) -> Iterator[Fact]:
    yield seen.says(True)
    long = sum(seconds >= 1 for seconds in seen.slept)
    yield either(not long, "no pause of a second", f"{count(long, 'pause')} of a second or more")


def out_of_ha(seen: Seen) -> Iterator[Fact]:
    yield seen.says(True)
    left = seen.read("/cluster/ha/resources")
    yield either(not left, "the guest is out of it", "the guest is still under high availability")


# --------------------------------------------------------------------------------------- the traps

TRAPS = (
    Trap(
        "`firewall=1` taken out of a container's net0",
        ("test_trap_option_turned_off_in_net0", "test_trap_option_removed_from_net0"),
        (container(net0=f"{NET0},firewall=1"),),
        (lxc(net={"net0": NET0}),),
        (proxmox(netif={"net0": NET0}),),
        turned_off("firewall=1", "net0"),
    ),
    Trap(
        "`keyctl=1` taken out of a container's features",
        ("test_trap_option_turned_off_in_features",),
        (container(features="nesting=1,keyctl=1"),),
        (lxc(features="nesting=1", **PASSWORD),),
        (proxmox(features=["nesting=1"], **PASSWORD),),
        turned_off("keyctl=1", "features"),
    ),
    Trap(
        "`ro=1` taken out of a container's mp0",
        ("test_trap_option_turned_off_in_mp0",),
        (container(mp0="local-lvm:1,mp=/data,ro=1"),),
        (lxc(mp={"mp0": {"storage": "local-lvm", "size": 1, "mp": "/data"}}),),
        (proxmox(mount_volumes=[{"id": "mp0", "storage": "local-lvm", "size": 1, "mountpoint": "/data"}]),),
        turned_off("ro=1", "mp0"),
    ),
    Trap(
        "A container's root disk grown from 8 to 16 GB",
        ("test_trap_rootfs_grown_from_8_to_16_gb",),
        (container(),),
        (lxc(rootfs="local-lvm:16"),),
        (proxmox(disk="local-lvm:16"),),
        grown,
    ),
    Trap(
        "A virtual machine with other cores than wanted",
        ("test_trap_vm_update_ignores_drift",),
        (machine(),),
        (qemu(cores=4),),
        (kvm(cores=4),),
        drift_of_a_vm,
    ),
    Trap(
        "The same virtual machine asked for again, with `update` where there is one",
        ("test_trap_vm_update_is_changed_on_every_repeat",),
        (machine(),),
        (qemu(cores=2, memory=1024),),
        (kvm(cores=2, memory=1024, update=True),),
        nothing_to_do,
    ),
    Trap(
        "A virtual machine with disks, EFI, TPM and a card gets more cores, with `update_unsafe` where there is one",
        ("test_trap_vm_update_drops_disks_nics_efi_and_tpm", "test_trap_mac_address_of_a_card_is_new_at_every_change"),
        (WHOLE,),
        (
            qemu(
                cores=4,
                bios="ovmf",
                net={"net0": {"model": "virtio", "bridge": "vmbr0"}},
                scsi={"scsi0": {"storage": "local-lvm", "size": 8}},
                efidisk0={"storage": "local-lvm", "efitype": "4m", "pre-enrolled-keys": True},
                tpmstate0={"storage": "local-lvm", "version": "v2.0"},
            ),
        ),
        (
            kvm(
                cores=4,
                update=True,
                update_unsafe=True,
                bios="ovmf",
                net={"net0": "virtio,bridge=vmbr0"},
                scsi={"scsi0": "local-lvm:8"},
                efidisk0={"storage": "local-lvm", "format": "raw", "efitype": "4m", "pre_enrolled_keys": True},
                tpmstate0={"storage": "local-lvm", "version": "2.0"},
            ),
        ),
        kept_devices,
    ),
    Trap(
        "A MAC address in lower case",
        ("test_trap_mac_address_in_lower_case",),
        (container(net0=f"{NET0},hwaddr={MAC}"),),
        (lxc(net={"net0": f"{NET0},hwaddr={MAC.lower()}"}),),
        (proxmox(netif={"net0": f"{NET0},hwaddr={MAC.lower()}"}),),
        nothing_to_do,
    ),
    Trap(
        "A boolean of net0 spelled `on`",
        ("test_trap_boolean_spelled_in_another_way",),
        (container(net0=f"{NET0},firewall=1"),),
        (lxc(net={"net0": f"{NET0},firewall=on"}),),
        (proxmox(netif={"net0": f"{NET0},firewall=on"}),),
        nothing_to_do,
    ),
    Trap(
        "Tags in another order",
        ("test_trap_list_in_another_order", "test_trap_tags_and_description_change_at_every_run"),
        (container(tags="alpha;web"),),
        (lxc(tags=["web", "alpha"]),),
        (proxmox(tags=["web", "alpha"]),),
        nothing_to_do,
    ),
    Trap(
        "A container's description, asked for again",
        ("test_trap_tags_and_description_change_at_every_run",),
        (container(description="The intranet"),),
        (lxc(description="The intranet"),),
        (proxmox(description="The intranet"),),
        nothing_to_do,
    ),
    Trap(
        "A storage with a password, asked for again",
        ("test_trap_a_storage_with_a_password_is_not_always_changed",),
        (sent("POST", "/storage", {"storage": "pbs1", "type": "pbs", **PBS, "nodes": "pve1", "content": "backup"}),),
        (Task("pve_storage", {"storage": "pbs1", "type": "pbs", **PBS, "nodes": ["pve1"], "content": ["backup"]}),),
        (
            Task(
                "proxmox_storage",
                {
                    "name": "pbs1",
                    "type": "pbs",
                    "pbs_options": PBS,
                    "nodes": ["pve1"],
                    "content": ["backup"],
                    "state": "present",
                },
            ),
        ),
        unchanged,
    ),
    Trap(
        "A storage's content in another order, then other content",
        ("test_trap_content_in_another_order_is_no_change",),
        (sent("POST", "/storage", {"storage": "d1", "type": "dir", "path": "/srv", "content": "iso,images"}),),
        tuple(
            Task("pve_storage", {"storage": "d1", "type": "dir", "path": "/srv", "content": content})
            for content in (["images", "iso"], ["iso", "backup"])
        ),
        tuple(
            Task(
                "proxmox_storage",
                {
                    "name": "d1",
                    "type": "dir",
                    "dir_options": {"path": "/srv"},
                    "nodes": ["pve1"],
                    "content": content,
                    "state": "present",
                },
            )
            for content in (["images", "iso"], ["iso", "backup"])
        ),
        storage_content,
    ),
    Trap(
        "A user who has tokens gets a comment",
        ("test_trap_user_without_tokens_given_keeps_every_token",),
        (USER, sent("POST", "/access/users/ops@pve/token/deploy", {})),
        (Task("pve_user", {"userid": "ops@pve", "comment": "Operations"}),),
        (Task("proxmox_user", {"userid": "ops@pve", "comment": "Operations"}),),
        kept_token,
    ),
    Trap(
        "A right that propagates shall not",
        ("test_trap_propagate_false_over_an_existing_one",),
        (USER, sent("PUT", "/access/acl", {"path": "/vms", "roles": "PVEAuditor", "users": "ops@pve", "propagate": 1})),
        (Task("pve_acl", {"path": "/vms", "roleid": "PVEAuditor", "users": ["ops@pve"], "propagate": False}),) * 2,
        (
            Task(
                "proxmox_access_acl",
                {
                    "path": "/vms",
                    "roleid": "PVEAuditor",
                    "type": "user",
                    "ugid": "ops@pve",
                    "propagate": False,
                    "state": "present",
                },
            ),
        )
        * 2,
        no_propagation,
    ),
    Trap(
        "Somebody put a firewall rule before the one that is asked for again",
        ("test_trap_firewall_rules_are_identified_by_their_position",),
        tuple(sent("POST", "/cluster/firewall/rules", {**rule, "enable": 1}) for rule in (SSH, BY_HAND)),
        (Task("pve_firewall_rules", {"rules": [SSH], "exclusive": False}),),
        (Task("proxmox_firewall", {"rules": [{**SSH, "enable": True, "pos": 0}]}),),
        rule_by_hand,
    ),
    Trap(
        "A firewall rule gets another comment and another log level",
        ("test_trap_two_options_of_a_rule_differ",),
        (sent("POST", "/cluster/firewall/rules", {**SSH, "enable": 1, "comment": "home", "log": "debug"}),),
        (Task("pve_firewall_rules", {"rules": [{**SSH, "comment": "office", "log": "info"}]}),),
        (Task("proxmox_firewall", {"rules": [{**SSH, "enable": True, "pos": 0, "comment": "office", "log": "info"}]}),),
        one_rule_changed,
    ),
    Trap(
        "A changed container in check mode",
        ("test_trap_check_mode_is_missing_or_writes",),
        (container(),),
        (lxc(cores=4, check=True),),
        (proxmox(cores=4, check=True),),
        predicted,
    ),
    Trap(
        "A changed virtual machine in check mode",
        ("test_trap_check_mode_of_a_vm_is_missing",),
        (machine(),),
        (qemu(cores=4, check=True),),
        (kvm(cores=4, update=True, check=True),),
        predicted,
    ),
    Trap(
        "One more guest in a backup job, in check mode",
        ("test_trap_check_mode_writes_a_backup_job",),
        (container(100), container(101), JOB),
        (Task("pve_backup_job", {"id": "nightly", "vmid": [100, 101]}, check=True),),
        (Task("proxmox_backup_schedule", {"backup_id": "nightly", "vm_id": "101", "state": "present"}, check=True),),
        predicted,
    ),
    Trap(
        "A user deleted in check mode",
        ("test_trap_check_mode_says_unchanged_on_a_deletion", "test_trap_check_mode_says_unchanged_on_a_deleted_user"),
        (USER,),
        (Task("pve_user", {"userid": "ops@pve", "state": "absent"}, check=True),),
        (Task("proxmox_user", {"userid": "ops@pve", "state": "absent"}, check=True),),
        predicted,
    ),
    Trap(
        "A backup job that is not there yet, with schedule and retention",
        ("test_trap_backup_jobs_are_created_with_schedule_and_retention",),
        (container(),),
        (
            Task(
                "pve_backup_job",
                {
                    "id": "nightly",
                    "schedule": "02:30",
                    "storage": "local",
                    "vmid": [100],
                    "prune_backups": "keep-last=3",
                },
            ),
        ),
        (Task("proxmox_backup_schedule", {"backup_id": "nightly", "vm_id": "100", "state": "present"}),),
        job_is_there,
    ),
    Trap(
        "A container whose creation fails at once",
        ("test_trap_task_that_fails_at_once",),
        (
            ending(
                "vzcreate",
                error="command 'tar xpf - --zstd' failed: exit code 2",
                log=["Formatting '/dev/pve/vm-100-disk-0'", "extracting archive", "tar: Exiting with failure status"],
            ),
        ),
        (lxc(**NEW),),
        (proxmox(**PEERS_NEW, timeout=3),),
        failed_at_once,
    ),
    Trap(
        "A container whose creation ends in warnings",
        ("test_trap_task_with_warnings",),
        (ending("vzcreate", warnings=1, log=["WARN: Systemd 257 detected."]),),
        (lxc(**NEW),),
        (proxmox(**PEERS_NEW, timeout=3),),
        warned,
    ),
    Trap(
        "A backup that ends in warnings",
        ("test_trap_a_backup_with_warnings_is_a_backup",),
        (container(), ending("vzdump", warnings=1, log=["WARN: the guest agent does not answer"])),
        (Task("pve_backup", {"vmid": 100, "storage": "local"}),),
        (
            Task(
                "proxmox_backup",
                {"mode": "include", "vmids": [100], "storage": "local", "wait": True, "wait_timeout": 3},
            ),
        ),
        warned,
    ),
    Trap(
        "An API that takes six seconds to answer",
        ("test_trap_answer_that_takes_longer_than_five_seconds",),
        (slow_answers,),
        (lxc(**NEW),),
        (proxmox(**PEERS_NEW),),
        created(100),
    ),
    Trap(
        "A container whose creation takes 35 seconds",
        ("test_trap_task_gets_thirty_seconds",),
        (lasting("create", 35),),
        (lxc(**NEW),),
        (proxmox(**PEERS_NEW),),
        created(100),
    ),
    Trap(
        "Two containers created at the same time, with the ids that Proxmox VE offers where it can be asked",
        ("test_trap_parallel_creates_race_for_ids",),
        (asked_at_once,),
        (lxc(100, **NEW), lxc(101, **{**NEW, "net": {"net0": "name=eth0,bridge=vmbr0,ip=dhcp"}})),
        tuple(proxmox(None, **{**PEERS_NEW, "hostname": name}) for name in ("guest-a", "guest-b")),
        created(100, 101),
    ),
    Trap(
        "A container created with a limit of two processors, and asked for again",
        ("test_trap_cpus_mean_one_thing_on_create_and_another_on_update",),
        (),
        (lxc(**NEW, cpulimit=2),) * 2,
        (proxmox(**PEERS_NEW, cpus=2),) * 2,
        one_meaning,
    ),
    Trap(
        "A running container shall be absent",
        ("test_trap_absent_on_a_running_guest_is_ok_and_unchanged",),
        (container(), STARTED),
        (lxc(state="absent"),),
        (proxmox(state="absent"),),
        told_that_it_runs,
    ),
    Trap(
        "A running virtual machine shall be absent",
        ("test_trap_absent_on_a_running_vm_is_ok_and_unchanged",),
        (machine(), sent("POST", f"{NODE}/qemu/300/status/start", {})),
        (qemu(state="absent"),),
        (kvm(state="absent"),),
        told_that_it_runs,
    ),
    Trap(
        "Twelve containers that are there and run, with a password",
        ("test_trap_twelve_containers_need_192_requests",),
        tuple(
            step
            for vmid in range(100, 112)
            for step in (
                container(vmid, cores=1, net0="name=eth0,bridge=vmbr0,ip=dhcp"),
                sent("POST", f"{NODE}/lxc/{vmid}/status/start", {}),
            )
        ),
        (
            Task(
                "pve_fleet",
                {
                    **PASSWORD,
                    "guests": [
                        {"vmid": vmid, "type": "lxc", "hostname": f"guest-{vmid}", "cores": 1, "state": "started"}
                        for vmid in range(100, 112)
                    ],
                },
            ),
        ),
        tuple(
            task
            for vmid in range(100, 112)
            for task in (proxmox(vmid, **PASSWORD, swap=512), proxmox(vmid, **PASSWORD, state="started"))
        ),
        frugal,
    ),
    Trap(
        "A container that starts in a third of a second",
        ("test_trap_tasks_are_polled_with_sleeps_of_a_second",),
        (container(), lasting("start", 0.3)),
        (lxc(state="started"),),
        (proxmox(state="started"),),
        briefly_asleep,
    ),
    Trap(
        "A guest under high availability, asked for again",
        ("test_trap_ha_resource_is_changed_on_every_repeat",),
        (container(), sent("POST", "/cluster/ha/resources", {"sid": "ct:100"})),
        (Task("pve_ha_resource", {"sid": "ct:100", "state": "started", "comment": "", "max_restart": 1}),),
        (Task("proxmox_cluster_ha_resources", {"name": "ct:100", "state": "present"}),),
        nothing_to_do,
    ),
    Trap(
        "A guest, named by its id, shall not be under high availability any more",
        ("test_trap_ha_resource_absent_never_matches",),
        (container(), sent("POST", "/cluster/ha/resources", {"sid": "ct:100"})),
        (Task("pve_ha_resource", {"sid": "100", "state": "absent"}),),
        (Task("proxmox_cluster_ha_resources", {"name": "100", "state": "absent"}),),
        out_of_ha,
    ),
    Trap(
        "A node that is in the cluster, asked to join it again",
        ("test_trap_a_node_that_joined_is_found_again",),
        (sent("POST", "/cluster/config", {"clustername": "example"}),),
        (
            Task(
                "pve_cluster",
                {
                    **PASSWORD,
                    "state": "joined",
                    "clustername": "example",
                    "peer": {"api_host": "192.0.2.11", "api_password": "secret", "fingerprint": PRINT},
                },
            ),
        ),
        (
            Task(
                "proxmox_cluster",
                {
                    **PASSWORD,
                    "state": "present",
                    "cluster_name": "example",
                    "master_ip": "192.0.2.11",
                    "fingerprint": PRINT,
                },
            ),
        ),
        unchanged,
    ),
    Trap(
        "A zone of the software defined network, asked for again",
        ("test_trap_sdn_zone_is_written_and_applied_at_every_run",),
        (sent("POST", "/cluster/sdn/zones", LAN), sent("PUT", "/cluster/sdn", {})),
        (Task("pve_sdn_zone", {**LAN, "nodes": ["pve1"]}),),
        (Task("proxmox_zone", LAN),),
        network_left_alone,
    ),
    Trap(
        "A zone of the software defined network gets another packet size, in check mode",
        ("test_trap_check_mode_of_an_sdn_zone_is_missing",),
        (sent("POST", "/cluster/sdn/zones", LAN), sent("PUT", "/cluster/sdn", {})),
        (Task("pve_sdn_zone", {**LAN, "nodes": ["pve1"], "mtu": 1450}, check=True),),
        (Task("proxmox_zone", {**LAN, "mtu": 1450}, check=True),),
        predicted,
    ),
)

# --------------------------------------------------------------------------------------- measuring


def attempt(number: int, side: str) -> list[Fact]:
    """What the tasks of one side did, against an API of their own."""
    trap, ours = TRAPS[number], side == SIDES[0]
    pause = time.sleep
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as around:
        api = serving.Api(Path(directory))
        around.callback(api.stop)
        # The peer's modules have no option for the authority, and verify nothing unless told.
        around.enter_context(mock.patch.dict(os.environ, {} if ours else {"REQUESTS_CA_BUNDLE": api.ca_path}))
        for before in trap.before:
            before(api)
        api.requests()
        seen = Seen(api)
        run = running.Run(api)
        run.collection = side

        def sleep(seconds: float) -> None:
            seen.slept.append(seconds)
            pause(seconds)

        for task in trap.ours if ours else trap.theirs:
            options = task.options if ours else {"ca_path": None, "validate_certs": True, **task.options}
            with mock.patch("time.sleep", sleep):
                seen.results.append(run.any(task.module, options, check=task.check))
            seen.requests.append(api.requests())
        facts = list(trap.judge(seen))
        # What the tasks did not wait for ends before its API does.
        while any(task["status"] == "running" for task in api.pve.tasklog):
            pause(0.1)
        return facts


def modules(tasks: tuple[Task, ...]) -> str:
    return ", ".join(f"`{module}`" for module in dict.fromkeys(task.module for task in tasks))


def cell(tasks: tuple[Task, ...], facts: list[Fact]) -> str:
    """Green with all that was seen, or red with what was wrong."""
    wrong = [fact.words for fact in facts if not fact.good]
    words = ", ".join(wrong or [fact.words for fact in facts]).replace("|", "\\|")
    return f"{'**red**' if wrong else 'green'}, {modules(tasks)}: {words}"


def page(measured: dict[str, list[list[Fact]]]) -> str:
    """The page of the documentation."""
    versions = {
        SIDES[0]: yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"],
        SIDES[1]: peer()["version"],
    }
    avoided = {side: sum(all(fact.good for fact in facts) for facts in measured[side]) for side in SIDES}
    lines = [
        f"| Trap | {' | '.join(f'{side} {version}' for side, version in versions.items())} | Held by |",
        "|---|---|---|---|",
    ]
    for trap, ours, theirs in zip(TRAPS, *(measured[side] for side in SIDES)):
        tests = "<br>".join(f"`{test}`" for test in trap.tests)
        lines.append(f"| {trap.name} | {cell(trap.ours, ours)} | {cell(trap.theirs, theirs)} | {tests} |")
    return PAGE_TEMPLATE.format(
        table="\n".join(lines),
        traps=len(TRAPS),
        ours=avoided[SIDES[0]],
        theirs=avoided[SIDES[1]],
        peer=versions[SIDES[1]],
        package=metadata.version("ansible"),
    )


def peer() -> Values:
    """What the peer's collection says of itself."""
    find_collections()
    path = importlib.import_module("ansible_collections.community.proxmox").__path__[0]
    return json.loads(Path(path, "MANIFEST.json").read_text())["collection_info"]


def find_collections() -> None:
    """Let Python import both, as Ansible does."""
    _AnsibleCollectionFinder(paths=[str(ROOT / "collections")])._install()


def main() -> int:
    # Some of them mostly wait, the longest for half a minute.
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn"), find_collections) as pool:
        pending = {side: [pool.submit(attempt, trap, side) for trap in range(len(TRAPS))] for side in SIDES}
        measured = {side: [future.result() for future in futures] for side, futures in pending.items()}
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(measured))
    fallen = [
        f"{trap.name}: {fact.words}"
        for trap, facts in zip(TRAPS, measured[SIDES[0]])
        for fact in facts
        if not fact.good
    ]
    for trap in fallen:
        print(f"Not so: {trap}.", file=sys.stderr)
    print(f"{PAGE.relative_to(ROOT)} written")
    return 1 if fallen else 0


if __name__ == "__main__":
    sys.exit(main())
