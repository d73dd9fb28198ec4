# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network of a node: read, staged, applied, and brought back if that goes wrong."""

from __future__ import annotations

import difflib
import re
import shutil
import socket
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import PveError, Unreachable, ssh_connection
from ansible_collections.onprem.cloud.plugins.module_utils.pve.interfaces import (
    BOND,
    BOND_MODES,
    BRIDGES,
    CARD,
    ELSEWHERE,
    ELSEWHERE_IN_OVS,
    IFACE,
    LONGEST_NAME,
    MEMBERS,
    PORTS,
    SINGLE,
    Config,
    Missing,
    Step,
    carrier,
    host,
    known,
    lockouts,
    mistakes,
    plan,
    refusals,
    settled,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import Invalid
from ansible_collections.onprem.cloud.plugins.module_utils.pve.resource import EMPTY, OfNode, Table
from ansible_collections.onprem.cloud.plugins.module_utils.pve.tasks import (
    LOCK_PAUSE,
    LOCKED,
    LOST_TRIES,
    TaskFailed,
)

INTERFACES = "/etc/network/interfaces"
UNIT = "onprem-cloud-network-rollback"
# The timer ends that much later than the module waits, so that both do not act at once.
MARGIN = 5


class Timer:
    """What brings the previous file back on the node unless it is called off, whatever becomes of the module."""

    def __init__(self, module: AnsibleModule, seconds: int) -> None:
        self.module, self.seconds, self.saved = module, seconds, f"{INTERFACES}.{UNIT}"
        self.deadline = time.monotonic() + seconds

    def command(self, *words: str) -> None:
        code, _out, error = self.module.run_command(list(words))
        if code:
            raise PveError(
                f"{words[0]} failed ({' '.join(error.split())}): the network cannot be guarded on the node, look at "
                f"'systemctl status {UNIT}.timer' there."
            )

    def start(self) -> None:
        """First the timer: where that of an earlier run is still about to act, what that has saved stays."""
        script = f"mv -f {self.saved} {INTERFACES} && rm -f {INTERFACES}.new && ifreload -a"
        self.command(
            # Collected, it leaves no failed unit behind that would be in the way of the next one.
            *(
                "systemd-run",
                f"--unit={UNIT}",
                "--collect",
                "--service-type=oneshot",
                f"--on-active={self.seconds + MARGIN}",
            ),
            *("--timer-property=AccuracySec=1", "/bin/sh", "-c", script),
        )
        try:
            shutil.copy2(INTERFACES, self.saved)
        except OSError as error:
            self.call_off()
            raise PveError(
                f"{INTERFACES} cannot be saved ({error}), so its network cannot be guarded: mend that."
            ) from error
        self.deadline = time.monotonic() + self.seconds

    def call_off(self) -> None:
        self.command("systemctl", "stop", f"{UNIT}.timer")
        with suppress(OSError):
            Path(self.saved).unlink()

    def fire(self) -> str:
        """Do it now; the sentence that says what came of it."""
        try:
            self.command("systemctl", "start", f"{UNIT}.service")
            self.command("systemctl", "stop", f"{UNIT}.timer")
        except PveError as error:
            # The timer may have been first, and then its units are gone.
            if Path(self.saved).exists():
                return f"The previous settings could not be restored ({error}): put {self.saved} back by hand."
        return "The previous settings have been restored."


# ---------------------------------------------------------------------------------------------------- the module

# What Proxmox VE decides by itself, and why.
DECIDED = {
    "autostart": "Proxmox VE decides that for the slaves of a bond and the ports of Open vSwitch",
    "bond_primary": "that needs bond_mode active-backup",
    "bond_xmit_hash_policy": "that needs bond_mode balance-xor or 802.3ad",
    "bridge_vids": "that needs bridge_vlan_aware",
    "vlan_id": "the name of the interface says another one",
    "vlan_raw_device": "the name of the interface says another one",
}
NETMASK = {"cidr": ("address", "netmask"), "cidr6": ("address6", "netmask6")}
# Numbers that there may be none of.
NUMBERS = ("mtu", "ovs_tag")
MOST_LINES = 6


def silent(error: PveError) -> bool:
    """Whether the node did not answer; another one may have said so."""
    return isinstance(error, Unreachable) or error.status >= 595


class Network(OfNode):
    """The interfaces of a node, planned, staged and applied together."""

    def __init__(self, module: AnsibleModule, table: Table) -> None:
        super().__init__(module, replace(table, id=""))
        self.wants: dict[str, dict[str, Any] | None] = {}  # by name; None for what is to be absent
        self.listing: dict[str, dict[str, Any]] = {}
        self.now: Config = {}
        self.staged: list[str] = []  # the lines that differ from what is in force
        self.writes = 0
        self.uncertain = False  # in check mode, whether something is missing that may be there by then

    def complain(self, name: str, text: str) -> None:
        if isinstance(text, Missing) and self.module.check_mode:
            self.uncertain = True
            self.module.warn(f"{self}: interface '{name}': {text}")
            return
        self.problem(f"interface '{name}': {text}")

    def refuse(self) -> None:
        if self.problems:
            raise PveError("\n".join(dict.fromkeys(self.problems)))

    # ------------------------------------------------------------------------------------------------- reading

    def read(self) -> None:
        """The interfaces as they are, or as they are going to be if changes are staged."""
        listing = self.client.get(self.path)
        self.listing = {item["iface"]: item for item in listing}
        self.now = {name: self.config(item) for name, item in self.listing.items()}
        text = self.staged_here() if self.client.local else str(self.client.attributes.get("changes") or "")
        lines = [line for line in text.splitlines() if re.match(r"[+-](?!--|\+\+)", line)]
        self.staged = [line for line in lines if line[1:].strip() and not line[1:].startswith("#")] or lines

    def config(self, item: dict[str, Any]) -> dict[str, Any]:
        values = {option: self.current(option, item) for option in self.table.options}
        for key, method in (("cidr", "method"), ("cidr6", "method6")):
            values[key] = item[method] if item.get(method) in ELSEWHERE else values[key]
        options = self.table.options
        return {key: value for key, value in values.items() if value not in EMPTY and value != options[key].default}

    @staticmethod
    def staged_here() -> str:
        """What pvesh does not tell."""
        current, new = Path(INTERFACES), Path(f"{INTERFACES}.new")
        if not new.exists():
            return ""
        texts = [path.read_text(encoding="utf-8").splitlines() for path in (current, new)]
        return "\n".join(difflib.unified_diff(*texts, lineterm=""))

    def call_as_listed(self) -> None:
        """Cards have several names; Proxmox VE knows each by one of them."""
        called = {other: name for name, item in self.listing.items() for other in item.get("altnames") or ()}
        called = {other: name for other, name in called.items() if other not in self.listing}
        for given in [name for name in self.wants if name in called]:
            if called[given] in self.wants:
                self.complain(given, f"it is given as '{called[given]}' as well, write all of its options in one place")
            self.wants[called[given]] = self.wants.pop(given)
        for wanted in filter(None, self.wants.values()):
            for option in (*PORTS, *SINGLE):
                if isinstance(wanted.get(option), list):
                    wanted[option] = sorted(called.get(name, name) for name in wanted[option])
                elif wanted.get(option):
                    wanted[option] = called.get(wanted[option], wanted[option])

    # ------------------------------------------------------------------------------------------------ planning

    def parse(self) -> None:
        for item in self.params["interfaces"]:
            name = item["iface"].strip()
            if name in self.wants:
                self.complain(name, "it is given twice, write all of its options in one place")
            if not re.fullmatch(IFACE, name):
                self.complain(name, "that is no name of letters, digits and underscores, with at most a VLAN behind it")
            absent = item["state"] == "absent"
            self.wants[name] = None if absent else self.parse_options(name, item)

    def parse_options(self, name: str, item: dict[str, Any]) -> dict[str, Any]:
        given = {option: item[option] for option in self.table.options if item.get(option) is not None}
        for cidr, (address, netmask) in NETMASK.items():
            said = item.get(address) is not None, item.get(netmask) is not None
            if any(said) and cidr in given:
                self.complain(name, f"{cidr} and {address if said[0] else netmask} say the same, leave one out")
            elif said[0] != said[1]:
                self.complain(name, f"{address} and {netmask} need each other, or write {cidr}")
            elif all(said):
                given[cidr] = f"{item[address]}/{item[netmask]}" if item[address] else ""
        wanted = {}
        for option, value in given.items():
            try:
                nothing = value in EMPTY or (option in NUMBERS and value == 0)
                parsed = None if nothing else self.table.options[option].kind.parse(value)
            except Invalid as error:
                self.complain(name, f"{option}: {error}")
                continue
            wanted[option] = None if parsed in EMPTY else parsed
        return wanted

    def aim(self) -> Config:
        """The interfaces as they are to be."""
        goal = settled(self.now)
        for name, wanted in self.wants.items():
            item = goal.get(name)
            if wanted is None:
                if item is not None and item["type"] in ("eth", "OVSPort"):
                    goal[name] = {"type": "eth"}  # a card stays where it is
                else:
                    goal.pop(name, None)
                continue
            kind = wanted.get("type")
            if item is not None and kind in self.table.belongs and kind != item["type"]:
                item = {key: value for key, value in item.items() if key not in self.strangers(kind)}
            fresh = {"autostart": True} if kind not in MEMBERS else {}
            changed = {**(fresh if item is None else item), **wanted}
            defaults = {option: spec.default for option, spec in self.table.options.items()}
            goal[name] = {key: value for key, value in changed.items() if value is not None and value != defaults[key]}
            if item is None and goal[name].get("type") == "OVSBond":
                goal[name].setdefault("bond_mode", "active-backup")
        self.join_bridges(goal)
        return settled(goal)

    def join_bridges(self, goal: Config) -> None:
        """Ports of Open vSwitch name their bridge; unless the bridge is told its ports, they follow from that."""
        for name, item in goal.items():
            if item.get("type") != "OVSBridge" or "ovs_ports" in (self.wants.get(name) or {}):
                continue
            stay = [port for port in item.get("ovs_ports", ()) if port not in self.wants]
            come = [
                port
                for port in self.wants
                if goal.get(port, {}).get("ovs_bridge") == name and goal[port]["type"] in MEMBERS
            ]
            item["ovs_ports"] = sorted({*stay, *come})
            if not item["ovs_ports"]:
                del item["ovs_ports"]

    def examine(self, goal: Config) -> None:
        """Everything that must not be staged."""
        now = settled(self.now)
        for name, wanted in self.wants.items():
            if wanted is not None:
                self.examine_type(name, wanted, goal)
        self.refuse()
        for name, wanted in self.wants.items():
            for option, value in (wanted or {}).items():
                default = self.table.options[option].default
                will = goal[name].get(option, default)
                if will != (default if value is None else value):
                    why = DECIDED.get(option, "Proxmox VE decides that")
                    self.complain(name, f"{option} would be '{will}', as {why}: leave it out")
        self.refuse()
        if goal == now:
            return
        for name, text in (*refusals(goal), *mistakes(goal, self.wants)):
            self.complain(name, text)
        self.refuse()
        for step in () if self.uncertain else plan(now, goal):
            for key, version in (("cidr", 4), ("cidr6", 6)):
                if step.before and (step.after or {}).get(key) in ELSEWHERE:
                    self.complain(
                        step.name,
                        f"its IPv{version} address comes by {step.after[key]}, which Proxmox VE drops when it writes "
                        f"the interface, give {key}, an empty one for none",
                    )
        self.refuse()

    def examine_type(self, name: str, wanted: dict[str, Any], goal: Config) -> None:
        """What an interface of its type can be."""
        kind, was = goal[name].get("type"), self.now.get(name, {}).get("type")
        belongs = self.table.belongs
        if kind is None:
            self.complain(name, "type is missing, a new interface needs it")
            return
        if was and kind != was and {kind, was} != {"eth", "OVSPort"}:
            self.complain(
                name, f"type is '{was}' and cannot be changed to '{kind}', remove it first (state absent) or rename it"
            )
        if kind not in belongs:
            self.complain(
                name, f"it is of type '{kind}', which the API of Proxmox VE does not change, do it on the node"
            )
            return
        for option in wanted:
            if option in self.strangers(kind):
                owners = " or ".join(other for other in belongs if option in belongs[other])
                self.complain(name, f"{option} does not belong to type '{kind}', leave it out or choose type {owners}")
        if kind in MEMBERS:
            self.examine_ovs_options(name, kind, wanted.get("ovs_options") or [])
        mode = goal[name].get("bond_mode")
        if mode and mode not in BOND_MODES.get(kind, (mode,)):
            self.complain(name, f"bond_mode '{mode}' is not for type '{kind}', choose of {', '.join(BOND_MODES[kind])}")
        if was is None:
            self.examine_name(name, kind)

    def examine_ovs_options(self, name: str, kind: str, words: list[str]) -> None:
        """What Proxmox VE would drop of the options of a port, or take for another one."""
        keys = [word.partition("=")[0] for word in words]
        for key, word in zip(keys, words):
            said = ELSEWHERE_IN_OVS.get(key)
            if not word.partition("=")[2] or not key:
                self.complain(name, f"ovs_options: '{word}' is not key=value")
            elif said in self.table.belongs[kind]:
                self.complain(name, f"ovs_options: '{word}' is said with {said}, write it there")
            elif keys.count(key) > 1:
                self.complain(name, f"ovs_options: '{key}' is given twice, leave one out")

    def examine_name(self, name: str, kind: str) -> None:
        """What a new interface of a type is called; Proxmox VE finds the type of some by their names."""
        if kind in ("eth", "OVSPort"):
            self.complain(name, f"the node has no such card, {known(name, self.now)}")
        elif len(name) > LONGEST_NAME:
            self.complain(name, f"the name has {len(name)} characters and Linux takes {LONGEST_NAME}, shorten it")
        elif kind in ("bond", "OVSBond") and not re.fullmatch(BOND, name):
            self.complain(name, f"an interface of type '{kind}' is called bond0, bond1 and so on")
        elif kind in ("vlan", "OVSIntPort") and re.fullmatch(BOND, name):
            self.complain(name, "only an interface of type bond or OVSBond has such a name, choose another one")
        elif kind == "OVSIntPort" and re.fullmatch(CARD, name):
            self.complain(name, "only a card has such a name, choose another one")
        elif (":" in name) != (kind == "alias"):
            self.complain(name, "an interface of type 'alias', and no other, has a name such as eno1:1")
        elif "." in name and kind != "vlan":
            self.complain(name, "only an interface of type 'vlan' has a name such as eno1.5")
        elif kind in BRIDGES and self.hidden_from_user(name):
            self.complain(name, "it is there and the user does not see it, grant SDN.Audit on /sdn/zones/localnetwork")

    def hidden_from_user(self, name: str) -> bool:
        try:
            return bool(self.client.get(f"{self.path}/{name}"))
        except PveError as error:
            if error.status != 400:  # what a missing interface is
                raise
            return False

    def examine_reach(self, goal: Config) -> None:
        """Nobody saws off the branch that the API is on, unless it is meant."""
        if self.params["force"]:
            return
        addresses = [address for address in self.addresses() if carrier(self.now, address)]
        if not addresses:
            main = [item for item in self.now.values() if item.get("gateway") or item.get("gateway6")]
            addresses = [str(host(item[key])) for item in main for key in NETMASK if host(item.get(key))]
        for sentence in lockouts(settled(self.now), goal, addresses):
            self.problem(f"{sentence}, and the node may be out of reach then: set force to true if you mean it")
        self.refuse()

    def addresses(self) -> list[str]:
        """Where the node is reached: the address of the API, and the one that the cluster knows."""
        found = []
        if self.client.local:
            found = ssh_connection()[2:3]
        else:
            with suppress(OSError):
                told = socket.getaddrinfo(self.params["api_host"], None, type=socket.SOCK_STREAM)
                found = [str(item[4][0]).partition("%")[0] for item in told]
        with suppress(PveError):
            nodes = self.client.get("/cluster/status")
            found += [item["ip"] for item in nodes if item.get("name") == self.params["node"] and item.get("ip")]
        return found

    def difference(self, goal: Config) -> tuple[dict[str, Any], dict[str, Any]]:
        """What changes, of what interface."""
        now = settled(self.now)
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        for name in sorted({*now, *goal}):
            was, will = now.get(name), goal.get(name)
            if was == will:
                continue
            names = [option for option in self.table.options if (was or {}).get(option) != (will or {}).get(option)]
            for side, item in ((before, was), (after, will)):
                if item is not None:
                    side[name] = {option: item[option] for option in names if option in item}
        return before, after

    # ------------------------------------------------------------------------------------------------- staging

    def write(self, step: Step) -> None:
        """One interface. What an update does not say of its addresses would be forgotten."""
        options, path = self.table.options, f"{self.path}/{step.name}"
        self.writes += 1
        if step.after is None:
            self.client.delete(path)
            return
        was = step.before or {}
        said = {
            key: value
            for key, value in step.after.items()
            if key == "type" or value != was.get(key) or (key in NETMASK and value not in ELSEWHERE)
        }
        values = {self.api_key(key): options[key].kind.format(value) for key, value in said.items()}
        if step.before is None:
            self.client.post(self.path, iface=step.name, **values)
            return
        gone = [self.api_key(key) for key in was if key not in step.after]
        self.client.put(path, **values, **({"delete": ",".join(sorted(gone))} if gone else {}))

    def stage(self, goal: Config) -> None:
        """Write until Proxmox VE has it all; what got no answer is looked at first."""
        deadline = time.monotonic() + self.tasks.timeout
        lost = 0
        written = False
        while True:
            steps = plan(self.now, goal)
            if not steps:
                return
            if written:
                raise PveError(f"{self}: PVE accepted the change and reads back another: {self.difference(goal)[0]}.")
            try:
                for step in steps:
                    self.write(step)
                written = True
            except Unreachable:
                lost += 1
                if lost > LOST_TRIES:
                    raise
                time.sleep(min(0.1 * lost, 2))
            except PveError as error:
                if not LOCKED.search(error.text) or time.monotonic() > deadline:
                    raise
                time.sleep(LOCK_PAUSE)
            self.read()

    def take_back(self, before: Config, kept: bool) -> str:
        """Stage what was before; the sentence that says what came of it."""
        try:
            if kept:
                self.read()
                self.stage(settled(before))
            else:
                self.client.delete(self.path)
        except PveError as error:
            return f"What was staged could not be taken back ({error}): revert it."
        return "What was staged has been taken back, nothing was applied."

    # ------------------------------------------------------------------------------------------------ applying

    def reload(self) -> Any:
        try:
            return self.client.put(self.path)
        except Unreachable:
            return None

    def wait_applied(self, upid: Any, deadline: float) -> bool:
        """Whether the node answers again; whether it was told at all shows in what is still staged."""
        told = upid is not None
        while True:
            try:
                self.tasks.wait(upid, f"{self}: reload")
                self.read()
                if told or not self.staged:
                    return True
                upid = self.reload()
                told = upid is not None
            except TaskFailed:
                raise
            except PveError as error:
                if not silent(error):
                    raise
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)

    def enforce(self, before: Config) -> None:
        """Apply what is staged, and bring back what was before if that fails."""
        seconds = self.params["rollback_timeout"]
        upid = self.reload()
        if not seconds:
            return
        try:
            answers = self.wait_applied(upid, time.monotonic() + seconds)
        except TaskFailed as error:
            raise PveError(f"{error} {self.restore(before, seconds)}") from error
        if not answers:
            was = "; ".join(f"{name}: {item}" for name, item in before.items() if item.get("cidr") or item.get("cidr6"))
            raise PveError(
                f"{self}: it has not answered for {seconds} s since its network was applied, and the API cannot take "
                f"back what cut it off: mend {INTERFACES} on its console and run 'ifreload -a' there. It was {was}."
            )

    def restore(self, before: Config, seconds: int) -> str:
        """Stage and apply what was before; the sentence that says what came of it."""
        try:
            self.read()
            self.stage(settled(before))
            if self.wait_applied(self.reload(), time.monotonic() + seconds):
                return "The previous settings have been applied again."
            return "The previous settings have been applied again, and the node does not answer: look at its console."
        except PveError as error:
            return f"The previous settings could not be applied again ({error}): look at the node."

    def probes(self) -> list[str]:
        """What the node reaches now and has to reach afterwards."""
        given = self.params["check_addresses"]
        if not self.guarded_here:
            return []
        gateways = [item[key] for item in self.now.values() for key in ("gateway", "gateway6") if item.get(key)]
        asked = given or [*ssh_connection()[:1], *gateways]
        answering = [address for address in asked if self.pings(address)]
        for address in asked if given else ():
            if address not in answering:
                self.problem(f"check_addresses: '{address}' does not answer a ping now, so it proves nothing later")
        self.refuse()
        if not answering:
            self.module.warn(
                f"{self}: neither the SSH client nor a gateway answers a ping, so nothing can tell whether the node is "
                "still reached: give check_addresses that do."
            )
        return answering

    def pings(self, address: str) -> bool:
        return self.module.run_command(["ping", "-c", "1", "-W", "1", address])[0] == 0

    @property
    def guarded_here(self) -> bool:
        return self.client.local and bool(self.params["rollback_timeout"])

    def enforce_here(self, timer: Timer, probes: list[str]) -> None:
        """On the node itself: the timer restores the file unless the node reaches what it reached before."""
        try:
            if self.wait_applied(self.reload(), timer.deadline):
                missing = [address for address in probes if not self.pings(address)]
                while missing and time.monotonic() < timer.deadline:
                    time.sleep(0.5)
                    missing = [address for address in missing if not self.pings(address)]
                if not missing:
                    timer.call_off()
                    return
                why = f"{self}: {' and '.join(missing)} cannot be reached any more with the new settings."
            else:
                why = f"{self}: pvesh does not answer."
        except PveError as error:
            why = str(error)
        raise PveError(f"{why} {timer.fire()}")

    # ------------------------------------------------------------------------------------------------- running

    def run(self) -> dict[str, Any]:
        params = self.params
        self.parse()
        if self.client.local and socket.gethostname().partition(".")[0] != params["node"]:
            self.problem("api_backend 'local' is for the network of the node that it runs on, run it there")
        self.refuse()
        self.read()
        self.call_as_listed()
        self.refuse()
        goal, staged = self.aim(), self.staged
        different = settled(self.now) != goal
        self.examine(goal)
        drop = bool(staged) and params["pending"] == "revert"
        if staged and params["pending"] == "fail" and (different or params["apply"]):
            lines = "; ".join(" ".join(line.split()) for line in staged[:MOST_LINES])
            more = f" and {len(staged) - MOST_LINES} more" if len(staged) > MOST_LINES else ""
            self.problem(
                f"changes are staged and not applied ({lines}{more}): "
                "apply or revert them, or set pending to keep, which applies them as well, or to revert"
            )
            self.refuse()
        if different:
            self.examine_reach(goal)
        applies = params["apply"] and (different or bool(staged and not drop))
        probes = self.probes() if applies or (drop and params["apply"]) else []
        changed = different or drop or applies
        if drop and not self.module.check_mode:
            goal = self.drop()
            applies = params["apply"] and settled(self.now) != goal
        before, after = self.difference(goal)
        if drop or (applies and staged):
            before["(staged)"] = staged
        if changed and not self.module.check_mode:
            self.carry_out(goal, applies, probes)
        facts = [self.listing[name] for name in sorted(self.wants) if name in self.listing]
        result = {"changed": changed, "applied": applies, "interfaces": facts}
        return {**result, "diff": {"before": before, "after": after}}

    def drop(self) -> Config:
        """Forget what is staged; the interfaces as they are to be, now that it shows what is in force."""
        self.client.delete(self.path)
        self.read()
        goal = self.aim()
        self.examine(goal)
        self.examine_reach(goal)
        return goal

    def carry_out(self, goal: Config, applies: bool, probes: list[str]) -> None:
        before, kept = self.now, bool(self.staged)
        timer = Timer(self.module, self.params["rollback_timeout"])
        try:
            self.stage(goal)
            if applies and self.guarded_here:
                timer.start()
        except PveError as error:
            if not self.writes:
                raise
            raise PveError(f"{error} {self.take_back(before, kept)}") from error
        if applies and self.guarded_here:
            self.enforce_here(timer, probes)
        elif applies:
            self.enforce(before)
