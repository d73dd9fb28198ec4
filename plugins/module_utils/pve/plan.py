# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What separates a guest from what is wanted, without asking or telling PVE anything."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ansible_collections.onprem.cloud.plugins.module_utils.pve import lxc
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import (
    HIDDEN,
    Invalid,
    Mount,
    PropertyString,
    Size,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.qemu import KINDS, QEMU, Drive

DELETE = None


class Step(NamedTuple):
    """One thing to do to a guest: what the fleet calls it, and what the user reads."""

    verb: str
    text: str


class Guest:
    """One guest as it is wanted, and as it was last read."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params
        self.vmid: int = params["vmid"]
        self.kind = KINDS[params.get("type") or "lxc"]
        self.state: str = params["state"]
        self.name: str = params.get("hostname") or ""
        self.node: str = params.get("node") or ""
        self.target = ""  # the node that it is to go to
        self.mapped: dict[str, str] = {}  # storages, and those that take their place there
        self.item: dict[str, Any] | None = None
        self.source: dict[str, Any] | None = None  # the guest that it is to be a clone of
        self.lacking = ""  # why there is no source
        self.inherited: dict[str, Any] = {}  # what a clone of it has
        self.cloned = False
        self.config: dict[str, Any] = {}
        self.waiting: list[str] = []  # what it takes at its next start only
        self.sent: set[str] = set()  # secrets, which cannot be read back
        self.running = False
        self.problems: list[str] = []
        self.misplaced = False
        self.wanted: dict[str, Any] = {}
        self._parse()

    def __str__(self) -> str:
        return f"guest {self.vmid} ({self.name})" if self.name else f"guest {self.vmid}"

    @property
    def path(self) -> str:
        return f"/nodes/{self.node}/{self.kind.path}/{self.vmid}"

    @property
    def home(self) -> str:
        """The node that it will be on."""
        return self.target or self.node

    @property
    def exists(self) -> bool:
        return self.item is not None

    @property
    def status(self) -> str:
        return ("running" if self.running else "stopped") if self.exists else "absent"

    def problem(self, text: str) -> None:
        self.problems.append(f"{self}: {text}" + ("" if text.endswith("?") else "."))

    def misplace(self, text: str) -> None:
        """A problem that leaves nothing to compare."""
        self.problem(text)
        self.misplaced = True

    def _parse(self) -> None:
        """Bring the options that were given into canonical form, keyed as PVE keys them."""
        if not 100 <= self.vmid <= 999999999:
            self.problem(f"vmid {self.vmid} is out of range, choose one from 100 to 999999999")
        if len(self.params.get("password") or "12345") < 5:
            self.problem("password is too short, it needs at least 5 characters")
        kind = self.kind
        known = {key for other in KINDS.values() for key in (*other.options, *other.numbered)} | {*lxc.CREATION}
        mine = {*kind.options, *kind.numbered, *(lxc.CREATION if kind is lxc.LXC else ())}
        given: dict[str, Any] = {}
        for key, value in self.params.items():
            if value is None or key not in known:
                continue
            if key not in mine:
                self.problem(f"'{key}' is not an option of a {kind.noun}, leave it out")
            elif key in kind.numbered:
                stem = kind.numbered[key].key or key
                for name, item in value.items():
                    if not re.fullmatch(rf"{stem}\d+", str(name)):
                        self.problem(f"'{name}' is not a key of {key}, number it as in {stem}0")
                    else:
                        given[name] = "" if item is None else item
            elif key in kind.options:
                given[key] = value
        for key, value in given.items():
            option = kind.option(key)
            try:
                parsed = option.kind.parse(value)
                if isinstance(option.kind, PropertyString):
                    option.kind.check(parsed)
            except Invalid as error:
                self.problem(f"{key}: {error}")
                continue
            self.wanted[key] = DELETE if parsed in ("", [], {}, 0) and self._removable(key, parsed) else parsed
            if self.wanted[key] is DELETE and key in ("hostname", *kind.required):
                self.problem(f"{key} is empty, give it a value or leave it out")
        for key in self.params.get("delete") or []:
            if kind.option(key) is None or key in kind.required:
                self.problem(f"delete: '{key}' is not an option that can be deleted")
            elif self.wanted.get(key, DELETE) is not DELETE:
                self.problem(f"'{key}' is both given and in delete, choose one")
            else:
                self.wanted[key] = DELETE

    @staticmethod
    def _removable(key: str, value: Any) -> bool:
        """An empty value removes the key; so does zero where it means that there is no limit."""
        return not isinstance(value, (bool, int, float)) or key in ("cores", "cpulimit", "cpuunits", "vcpus")

    def inherit(self, config: dict[str, Any]) -> None:
        """What a clone has before anything is changed: all of its source, but for what only one guest can have."""
        kind, storage = self.kind, (self.params["clone"].get("storage") or "")
        names = {name: option for option, name in kind.renamed.items()}
        for key, text in config.items():
            option = kind.option(names.get(key, key))
            if option is None or key == "vmgenid":
                continue
            self.inherited[key] = text
            if not isinstance(option.kind, PropertyString):
                continue
            try:
                value = option.kind.parse(text)
            except Invalid:
                continue
            volume = value.get("volume", "") if isinstance(option.kind, Mount) else ""
            if storage and ":" in volume and ("cloudinit" in volume or value.get("media") != "cdrom"):
                value["volume"] = f"{storage}:{volume.partition(':')[2]}"
            own = {name: item for name, item in value.items() if name not in ("hwaddr", "macaddr", "uuid", "storage")}
            if own != value:
                self.inherited[key] = option.kind.format(own)
        default = f"Copy-of-VM-{config.get('name') or (self.source or {}).get('vmid')}" if kind is QEMU else ""
        self.inherited[kind.name_key] = self.name or default or config.get(kind.name_key, "")
        self.config = dict(self.inherited)

    def current(self, key: str) -> Any:
        """The canonical value that PVE has now; an absent key means its default."""
        option = self.kind.option(key)
        raw = self.config.get(self.kind.renamed.get(key, key))
        if raw is None or (isinstance(raw, str) and not raw.strip()):
            return option.default
        try:
            value = option.kind.parse(raw)
        except Invalid:
            return str(raw)
        if self.target and isinstance(option.kind, Mount) and value.get("storage") in self.mapped:
            value["storage"] = self.mapped[value["storage"]]
        return value

    @property
    def template(self) -> bool:
        return bool(self.config.get("template") or (self.item or {}).get("template"))

    def now(self, key: str) -> Any:
        """What was last read, as the diff shows it."""
        if key == "status":
            return self.status
        if key == "pool":
            return (self.item or {}).get("pool")
        if key == "node":
            return self.node
        if key == "template":
            return self.template or None
        return self.view(key, self.current(key)) if self.exists else None

    def view(self, key: str, value: Any) -> Any:
        """A value as the diff shows it: without what was left to PVE."""
        option, wanted = self.kind.option(key), self.wanted.get(key, value)
        if value in (DELETE, "", [], {}) or (wanted is DELETE and value == option.default):
            return None
        if option.secret:
            return HIDDEN
        if isinstance(option.kind, PropertyString) and isinstance(value, dict):
            return option.kind.show(option.kind.visible(value, wanted if isinstance(wanted, dict) else value))
        return value


class Plan:
    """What separates a guest from what is wanted."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}
        self.sets: dict[str, Any] = {}
        self.deletes: list[str] = []
        self.moves: dict[str, dict[str, Any]] = {}  # volumes, and the storage and format that they are to have
        self.resizes: dict[str, int] = {}
        self.imports: dict[str, int] = {}  # disks that are made as large as their source and grow then
        self.steps: list[Step] = []
        self.problems: list[str] = []
        if guest.state == "absent":
            self._absent()
        else:
            if not guest.exists:
                if guest.params.get("clone"):
                    self._clone()
                else:
                    self._create()
            else:
                self._update()
                self._migrate()
            self._pool()
            self._template()
            self._power()

    @property
    def values(self) -> dict[str, Any]:
        """What is set, as the API takes it."""
        kind = self.guest.kind
        return {kind.renamed.get(key, key): kind.option(key).kind.format(value) for key, value in self.sets.items()}

    @property
    def drives(self) -> list[str]:
        """The volumes that protection keeps from being changed; those of a virtual machine only from being removed."""
        keys = self.deletes if self.guest.kind is QEMU else (*self.sets, *self.deletes)
        return [key for key in keys if isinstance(self.guest.kind.option(key).kind, Mount)]

    @property
    def detached(self) -> list[str]:
        """The disks of a virtual machine that leave their place and stay with it."""
        guest = self.guest
        disks = [key for key in self.deletes if isinstance(guest.kind.option(key).kind, Drive)]
        return [key for key in disks if "media=cdrom" not in str(guest.config.get(key))]

    def __bool__(self) -> bool:
        return bool(self.steps)

    def problem(self, text: str) -> None:
        self.problems.append(f"{self.guest}: {text}.")

    def change(self, key: str, before: Any, after: Any) -> None:
        self.before[key], self.after[key] = before, after

    def _absent(self) -> None:
        guest = self.guest
        if not guest.exists:
            return
        if guest.current("protection"):
            self.problem("it is protected and will not be destroyed, turn off protection in a run of its own first")
        if guest.running and not guest.params["force"]:
            self.problem("it is running and will not be destroyed, stop it first (state stopped) or set force")
        self.steps = [Step("stop", "stop")] if guest.running else []
        self.steps.append(Step("destroy", "destroy"))
        self.change("status", guest.status, "absent")

    def _create(self) -> None:
        guest = self.guest
        examples = {
            "ostemplate": "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst",
            "rootfs": "{storage: local-lvm, size: 8G}",
        }
        for key, example in examples.items() if guest.kind is lxc.LXC else ():
            if not (guest.params.get(key) or guest.wanted.get(key)):
                self.problem(f"{key} is missing, a new container needs it (for example {example})")
        self.steps.append(Step("create", "create"))
        usual = {"unprivileged": True} if guest.kind is lxc.LXC else {}
        for key, value in {**usual, **guest.wanted}.items():
            if value is DELETE:
                continue
            kind = guest.kind.option(key).kind
            if isinstance(kind, Mount):
                self._new_volume(key, value)
            self.sets[key] = value
            self.change(key, None, guest.view(key, value))
        self.steps += self._growing(self.imports)
        self._devices()

    def _clone(self) -> None:
        """What a clone is to be is done to it as to any guest, once it is there."""
        guest, clone = self.guest, self.guest.params["clone"]
        for key in lxc.CREATION:
            if guest.params.get(key):
                self.problem(f"'{key}' is not for a clone, which has what its source has: leave it out, or clone")
        if guest.inherited:
            self._update()
        after = {key: self.after.get(key, guest.view(key, guest.current(key))) for key in guest.wanted}
        self.before, self.after = {}, {}
        for key, value in guest.wanted.items():
            if value is not DELETE:
                self.change(key, None, after[key] if guest.inherited else guest.view(key, value))
        source = (guest.source or {}).get("vmid") or clone.get("vmid") or f"'{clone.get('name')}'"
        snapshot = f" at snapshot '{clone['snapname']}'" if clone.get("snapname") else ""
        self.steps.insert(0, Step("clone", f"clone guest {source}{snapshot}"))

    def _update(self) -> None:
        guest = self.guest
        for key, value in guest.wanted.items():
            option, current = guest.kind.option(key), guest.current(key)
            if option.secret and value is not DELETE:
                always = guest.params.get("update_password") == "always" or guest.cloned or not guest.exists
                if (always and key not in guest.sent) or not current:
                    self.sets[key] = value
                    self.change(key, guest.view(key, current), HIDDEN)
                continue
            if value is DELETE:
                if current != option.default:
                    self.deletes.append(key)
                    self.change(key, guest.view(key, current), None)
                continue
            target = value
            if isinstance(option.kind, PropertyString) and isinstance(current, dict):
                target = option.kind.complete(value, current)
            before = current
            if isinstance(option.kind, Mount):
                target, current = self._mount(key, value, target, current)
            if target == current:
                continue
            if option.fixed:
                self.problem(f"{key} is {current} and cannot be changed, recreate the guest from a backup instead")
                continue
            self.sets[key] = target
            self.change(key, guest.view(key, before), guest.view(key, target))
        for disk in {**self.moves, **self.resizes}:
            before = guest.current(disk)
            after = {**self.sets.get(disk, before), **self.moves.get(disk, {})}
            if disk in self.resizes:
                after["size"] = self.resizes[disk]
            self.change(disk, guest.view(disk, before), guest.view(disk, after))
        self._moving()
        # A volume grows first: an option that has to wait for a restart would keep the old size.
        self.steps += self._growing(self.resizes)
        if self.sets or self.deletes:
            text = "update " + ", ".join(sorted([*self.sets, *self.deletes]))
            if self.detached:
                text += f" (detach {', '.join(self.detached)}: each volume stays as an unused one of the guest)"
            self.steps.append(Step("update", text))
        self.steps += self._growing(self.imports)
        if self.drives and guest.current("protection") and guest.wanted.get("protection") is not False:
            self.problem(f"it is protected, turn off protection to change {', '.join(self.drives)}")
        self._devices()

    def _moving(self) -> None:
        """Volumes go to another storage before anything else is done to them."""
        guest = self.guest
        for disk, place in sorted(self.moves.items()):
            busy = "tpmstate0" if guest.kind is QEMU else disk
            if guest.running and guest.state != "stopped" and disk == busy:
                self.problem(f"{disk} cannot be moved while the {guest.kind.noun} runs, stop it first (state stopped)")
            text = f"move {disk} to storage '{place.get('storage', guest.current(disk).get('storage'))}'"
            text += f" in the format {place['format']}" if "format" in place else ""
            if not guest.params.get("delete_moved"):
                text += " (the old volume stays as an unused one of the guest)"
            self.steps.append(Step("move", text))

    def _migrate(self) -> None:
        guest = self.guest
        if guest.target:
            restarted = guest.running and guest.state != "stopped" and guest.kind is lxc.LXC
            text = f"migrate to node '{guest.target}'" + (" (with a restart)" if restarted else "")
            self.steps.insert(0, Step("migrate", text))
            self.change("node", guest.node, guest.target)

    def _template(self) -> None:
        """A guest becomes a template and never a guest again."""
        guest, wanted = self.guest, self.guest.params.get("template")
        if wanted is False and guest.template:
            self.problem("it is a template and cannot become a guest again, clone it or leave template out")
        if not wanted or guest.template:
            return
        if guest.state == "started":
            self.problem("a template cannot be started, set state to present or stopped")
        elif guest.running and guest.state != "stopped":
            self.problem("it is running and cannot become a template, stop it first (state stopped)")
        self.steps.append(Step("template", "turn into a template"))
        self.change("template", None, True)

    @staticmethod
    def _growing(sizes: dict[str, int]) -> list[Step]:
        return [Step("resize", f"resize {disk} to {Size().format(size)}") for disk, size in sorted(sizes.items())]

    def imported(self, disk: str, size: int) -> None:
        """What is imported has this size: there is nothing to grow, or it is too large already."""
        wanted, text = self.imports[disk], Size().format
        if size > wanted:
            self.problem(
                f"{disk}: what is imported has {text(size)} and cannot shrink to {text(wanted)}, write at least "
                f"{text(size)}"
            )
        elif size == wanted:
            self.steps = [step for step in self.steps if step not in self._growing({disk: size})]

    def _devices(self) -> None:
        """What the options of a virtual machine say about each other, as far as this run changes them."""
        guest = self.guest
        if guest.kind is not QEMU:
            return

        after = {key: guest.current(key) for key in guest.config if guest.kind.option(key)}
        after = {key: value for key, value in {**after, **self.sets}.items() if key not in self.deletes}
        order = (guest.wanted.get("boot") or {}).get("order", [])
        for device in order if "boot" in self.sets or {*order} & {*self.deletes} else ():
            if device not in after:
                self.problem(f"boot: '{device}' is not a device of the guest, add it or leave it out of order")
        machine = after.get("machine")
        machine = machine.get("type", "pc") if isinstance(machine, dict) else str(machine or "pc")
        for key in self.sets:
            if key.startswith("hostpci") and self.sets[key].get("pcie") and "q35" not in machine:
                self.problem(f"{key}: pcie needs machine q35, not {machine}: set machine to q35 or leave pcie out")

    def _new_volume(self, key: str, wanted: dict[str, Any]) -> None:
        flaw = self.guest.kind.option(key).kind.flaw(wanted)
        if flaw:
            self.problem(f"{key}: {flaw}")
        if "import-from" in wanted and "size" in wanted:
            self.imports[key] = wanted["size"]

    def _mount(self, key: str, wanted: dict[str, Any], target: dict[str, Any], current: Any) -> tuple[Any, Any]:
        """Separate moving and growing from changing options; what would lose or leave data is refused.

        Returns what is wanted and what there is once volumes have moved.
        """
        if not isinstance(current, dict) or not current:
            self._new_volume(key, wanted)
            return target, current
        place = self._elsewhere(key, wanted, current)
        if place and self.guest.params.get("move_volumes"):
            self.moves[key] = place
        current = {**current, **place}
        text = self.guest.kind.option(key).kind.clash(key, wanted, current)
        if text:
            self.problem(text)
        elif "size" in wanted and "size" in current:
            old, new = current["size"], wanted["size"]
            if new < old:
                text = Size().format
                self.problem(f"{key} is {text(old)} and cannot shrink to {text(new)}, write at least {text(old)}")
            elif new > old:
                self.resizes[key] = new
        return {**target, "size": current["size"]} if "size" in current else target, current

    def _elsewhere(self, key: str, wanted: dict[str, Any], current: dict[str, Any]) -> dict[str, Any]:
        """The storage and the format that a volume is to have in place of its own."""
        if ":" not in current.get("volume", "") or "media" in {*wanted, *current} or "volume" in wanted:
            return {}
        names = [name for name in ("storage", "format") if wanted.get(name, current.get(name)) != current.get(name)]
        if names and not self.guest.params.get("move_volumes"):
            words = {"storage": "is on storage '{}', not '{}'", "format": "is in the format {}, not {}"}
            text = words[names[0]].format(current.get(names[0]), wanted[names[0]])
            self.problem(f"{key} {text}: set move_volumes to have the volume moved, or write what it has")
        return {name: wanted[name] for name in names}

    def _pool(self) -> None:
        guest, pool = self.guest, self.guest.params.get("pool")
        current = (guest.item or {}).get("pool") or ""
        if pool is not None and pool != current:
            self.change("pool", current or None, pool or None)
            if guest.exists:
                self.steps.append(Step("pool", f"move to pool '{pool}'" if pool else f"leave pool '{current}'"))

    def _power(self) -> None:
        guest = self.guest
        if not guest.exists:
            self.change("status", "absent", "running" if guest.state == "started" else "stopped")
            if guest.state == "started":
                self.steps.append(Step("start", "start"))
        elif guest.state == "started" and not guest.running:
            if (guest.item or {}).get("template"):
                self.problem("it is a template and cannot be started, set state to present")
            self.steps.append(Step("start", "start"))
            self.change("status", "stopped", "running")
        elif guest.state == "stopped" and guest.running:
            self.steps.insert(0, Step("stop", "stop"))
            self.change("status", "running", "stopped")
