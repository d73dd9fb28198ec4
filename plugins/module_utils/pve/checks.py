# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at before the first write: guests against each other, against the nodes, and what they name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ansible_collections.onprem.cloud.plugins.module_utils.pve.cluster import is_root, reserved
from ansible_collections.onprem.cloud.plugins.module_utils.pve.lxc import LXC
from ansible_collections.onprem.cloud.plugins.module_utils.pve.plan import Guest, Plan
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import Mount, Size
from ansible_collections.onprem.cloud.plugins.module_utils.pve.qemu import QEMU, Drive

if TYPE_CHECKING:
    from ansible_collections.onprem.cloud.plugins.module_utils.pve.engine import Fleet


# The keys that hold addresses: of the cards, and those that cloud-init gives a virtual machine.
ADDRESSED = ("net", "ipconfig")


def duplicates(fleet: Fleet, plans: list[Plan], pool: ThreadPoolExecutor) -> list[str]:
    """One vmid, name or address for two guests: within the list, and against the guests outside it."""
    listed = {guest.vmid for guest in fleet.guests}
    others = [
        Guest({"state": "present", "vmid": vmid, "hostname": item.get("name"), **item})
        for vmid, item in fleet.items.items()
        if vmid not in listed
    ]
    # All of a clone is new, although some of it needs no change after the cloning.
    news = {id(plan.guest): plan.sets for plan in plans}
    news.update({id(plan.guest): plan.guest.wanted for plan in plans if plan and plan.steps[0].verb == "clone"})
    if any(key.startswith(ADDRESSED) for new in news.values() for key in new):
        list(pool.map(fleet.peek, others))
    outside: dict[tuple[str, Any], Guest] = {}
    for guest in others:
        nets = [guest.current(key) for key in guest.config if key.startswith(ADDRESSED)]
        outside.update(dict.fromkeys(claims(guest.name, nets), guest))
    problems = []
    inside: dict[tuple[str, Any], Guest] = {}
    for guest in fleet.guests:
        mine: list[tuple[str, Any]] = [("vmid", guest.vmid)]
        if guest.state != "absent":
            mine += claims(guest.name, [value for key, value in guest.wanted.items() if key.startswith(ADDRESSED)])
        new = news.get(id(guest), {})
        fresh = claims(new.get("hostname") or "", [value for key, value in new.items() if key.startswith(ADDRESSED)])
        rivals = [(claim, inside[claim]) for claim in mine if claim in inside]
        rivals += [(claim, outside[claim]) for claim in fresh if claim in outside]
        for (what, value), rival in rivals[:1]:
            problems.append(f"{guest}: {what} {value} is used by {rival} too, give each its own.")
        inside.update({claim: guest for claim in mine if claim not in inside})
    return problems


def claims(name: str, nets: list[Any]) -> list[tuple[str, Any]]:
    """What no two guests may share."""
    found: list[tuple[str, Any]] = [("hostname", name.lower())] if name else []
    for net in nets:
        if isinstance(net, dict):
            static = [net[key] for key in ("ip", "ip6") if "/" in net.get(key, "")]
            found += [("address", address.partition("/")[0]) for address in static]
            found += [("hwaddr", net[key]) for key in ("hwaddr", "macaddr") if key in net]
    return found


def capacity(fleet: Fleet, plans: list[Plan]) -> list[str]:
    """Memory, disk and CPU against what the node has, for what this run would make worse."""
    problems = []
    # By node, the guests that a run gives more; by guest, what each has of it then.
    greedy: dict[str, list[str]] = {}
    hungry: dict[str, list[str]] = {}
    real = {vmid: item for vmid, item in fleet.items.items() if not item.get("template")}
    cores = {vmid: item.get("maxcpu") or 0 for vmid, item in real.items()}
    memories = {vmid: (item.get("maxmem") or 0) // 1024**2 for vmid, item in real.items()}
    for plan in plans:
        guest = plan.guest
        node = fleet.nodes.get(guest.home, {})
        if guest.state == "absent":
            cores.pop(guest.vmid, None)
            memories.pop(guest.vmid, None)
            continue
        memory = plan.sets.get("memory") or (0 if guest.exists else guest.kind.options["memory"].default)
        if node.get("maxmem") and memory * 1024**2 > node["maxmem"]:
            problems.append(
                f"{guest}: memory {memory} MiB is more than node '{guest.home}' has "
                f"({node['maxmem'] // 1024**2} MiB), write less."
            )
        elif memory:
            if memory > memories.get(guest.vmid, 0):
                hungry.setdefault(guest.home, []).append(str(guest))
            memories[guest.vmid] = memory
        for disk, storage, size in volumes(plan):
            total = fleet.storages.get((guest.home, storage), {}).get("maxdisk")
            if total and size > total:
                problems.append(
                    f"{guest}: {disk} of {Size().format(size)} is more than storage '{storage}' on "
                    f"node '{guest.home}' holds ({total // 1024**3}G), write less."
                )
        wanted = guest.wanted.get("cores") or guest.wanted.get("cpulimit") or 0
        if guest.kind is QEMU:
            if guest.exists and not {"cores", "sockets"} & plan.sets.keys():
                continue
            parts = [guest.wanted.get(key) or guest.current(key) for key in ("cores", "sockets")]
            wanted = parts[0] * parts[1]
        if wanted or not guest.exists:
            if wanted > cores.get(guest.vmid, 0):
                greedy.setdefault(guest.home, []).append(str(guest))
            cores[guest.vmid] = wanted
    places = {
        **{vmid: item["node"] for vmid, item in fleet.items.items()},
        **{plan.guest.vmid: plan.guest.home for plan in plans},
    }

    def of_node(name: str, amounts: dict[int, float]) -> float:
        return sum(amount for vmid, amount in amounts.items() if places.get(vmid) == name)

    for name, guests in hungry.items():
        physical = (fleet.nodes.get(name, {}).get("maxmem") or 0) // 1024**2
        total, ratio = of_node(name, memories), fleet.params["memory_overcommit"]
        if physical and total > physical * ratio:
            problems.append(
                f"{', '.join(guests)}: the guests of node '{name}' would have {total} MiB of memory, more than "
                f"{ratio:g} times its {physical} MiB: lower memory or raise memory_overcommit."
            )
    for name, guests in greedy.items():
        physical = fleet.nodes.get(name, {}).get("maxcpu")
        total = of_node(name, cores)
        ratio = fleet.params["cpu_overcommit"]
        if physical and total > physical * ratio:
            problems.append(
                f"{', '.join(guests)}: the guests of node '{name}' would have {total:g} cores, more than {ratio:g} "
                f"times its {physical:g} CPUs: lower cores or raise cpu_overcommit."
            )
    return problems


def volumes(plan: Plan) -> list[tuple[str, str, int]]:
    """(key, storage, bytes) of the volumes that the plan allocates or grows."""
    found = []
    for key, value in plan.sets.items():
        if isinstance(value, dict) and "storage" in value and Drive.made(value):
            found.append((key, value["storage"], value.get("size", 0)))
    for key in {**plan.moves, **plan.resizes}:
        current = plan.guest.current(key)
        place = {**current, **plan.moves.get(key, {})}
        found.append((key, place["storage"], plan.resizes.get(key, current.get("size", 0))))
    clone = plan.guest.params.get("clone") or {}
    if clone.get("storage") and plan.steps and plan.steps[0].verb == "clone":
        found.append(("clone", clone["storage"], 0))
    return found


def references(fleet: Fleet, plans: list[Plan], pool: ThreadPoolExecutor) -> list[str]:
    """Storages, bridges, templates and pools that the plan needs and that are not there."""
    needs: dict[tuple[str, str], list[tuple[str, str]]] = {}
    problems = []
    sources: list[tuple[Plan, str, str, str]] = []
    for plan in plans:
        guest = plan.guest
        if guest.lacking:
            problems.append(f"{guest}: {guest.lacking}.")
        for key, storage, _size in volumes(plan):
            item = fleet.storages.get((guest.home, storage))
            known = ", ".join(sorted(name for node, name in fleet.storages if node == guest.home))
            if item is None:
                problems.append(
                    f"{guest}: {key}: storage '{storage}' does not exist on node '{guest.home}', "
                    f"it has {known or 'none that this user may see'}."
                )
            elif guest.kind.content not in str(item.get("content", guest.kind.content)):
                problems.append(
                    f"{guest}: {key}: storage '{storage}' does not take {guest.kind.noun} disks, add "
                    f"'{guest.kind.content}' to its content or choose another storage."
                )
        for key, value in plan.sets.items():
            who = f"{guest}: {key}"
            if key.startswith("net") and isinstance(value, dict) and value.get("bridge"):
                need = needs.setdefault(("bridge", f"/nodes/{guest.home}/network"), [])
                need.append((who, value["bridge"]))
            for device in ("hostpci", "usb"):
                if key.startswith(device) and value.get("mapping"):
                    path = f"/cluster/mapping/{device.replace('host', '')}"
                    needs.setdefault(("mapping", path), []).append((who, value["mapping"]))
            if isinstance(guest.kind.option(key).kind, Drive):
                volume = value.get("import-from") or ("" if Drive.made(value) else value.get("volume", ""))
                storage = volume.partition(":")[0]
                known = guest.config.get(key, "").partition(",")[0] == volume
                if ":" in volume and not known and (guest.home, storage) in fleet.storages:
                    path = f"/nodes/{guest.home}/storage/{storage}/content"
                    needs.setdefault(("volume", path), []).append((who, volume))
                    if key in plan.imports:
                        sources.append((plan, key, volume, path))
                elif ":" in volume and not known:
                    problems.append(f"{who}: storage '{storage}' does not exist on node '{guest.home}'.")
        if plan.steps[0].verb == "create" and ":" in (guest.params.get("ostemplate") or ""):
            template = guest.params["ostemplate"]
            storage = template.partition(":")[0]
            if (guest.home, storage) in fleet.storages:
                path = f"/nodes/{guest.home}/storage/{storage}/content"
                needs.setdefault(("ostemplate", path), []).append((str(guest), template))
            else:
                problems.append(f"{guest}: ostemplate: storage '{storage}' does not exist on node '{guest.home}'.")
        if plan.after.get("pool"):
            needs.setdefault(("pool", "/pools"), []).append((str(guest), plan.after["pool"]))
    filters = {"bridge": {"type": "any_bridge"}, "ostemplate": {"content": "vztmpl"}}
    keys = {"bridge": "iface", "ostemplate": "volid", "pool": "poolid", "mapping": "id", "volume": "volid"}
    answers = dict(zip(needs, pool.map(lambda need: fleet.client.get(need[1], **filters.get(need[0], {})), needs)))
    for plan, key, volume, path in sources:
        sizes = [item["size"] for item in answers["volume", path] if item["volid"] == volume and item.get("size")]
        for size in sizes:
            plan.imported(key, size)
    for (kind, path), answer in answers.items():
        known = sorted(str(item[keys[kind]]) for item in answer)
        place = f" on node '{path.split('/')[2]}'" if path.startswith("/nodes/") else ""
        for who, name in needs[kind, path]:
            if name not in known:
                offer = f"choose one of {', '.join(known)}" if known else "and this user may use no other"
                problems.append(f"{who}: {kind} '{name}' does not exist{place}, {offer}.")
    return problems


def privileged(fleet: Fleet, plans: list[Plan]) -> list[str]:
    """What needs root@pam itself: guests are changed in turn, and the refusal of one would come too late."""
    if is_root(fleet.params):
        return []
    problems = []
    for plan in plans:
        guest, kind, values = plan.guest, plan.guest.kind, plan.values
        names = []
        for key in [*plan.sets, *plan.deletes]:
            name = kind.renamed.get(key, key)
            texts = [str(value.get(name, "")) for value in (guest.config, values)]
            of_root = kind is LXC and not plan.sets.get("unprivileged", guest.current("unprivileged"))
            if kind.reserved(name, *texts) or (of_root and key == "features"):
                names.append(key)
        if names:
            what = f"change {', '.join(sorted(names))}"
            problems.append(f"{guest}: {reserved(fleet.params, what)}.")
    return problems


def lives(fleet: Fleet, plans: list[Plan]) -> list[str]:
    """What Proxmox VE would refuse when other things are done already, or at once in its own words."""
    problems = []
    for plan in plans:
        found = departures(fleet, plan.guest) if plan.guest.target else []
        if plan.guest.source and not plan.guest.exists:
            found += origins(fleet, plan.guest, plan.guest.source)
        made = plan.guest.exists and any(step.verb == "template" for step in plan.steps)
        leaves = plan.moves and plan.guest.params.get("delete_moved")
        if made or leaves:
            found += kept(fleet, plan, made)
        problems += [f"{plan.guest}: {problem}." for problem in found]
    return problems


def origins(fleet: Fleet, guest: Guest, source: dict[str, Any]) -> list[str]:
    """Why a guest cannot be cloned as is wanted."""
    problems, clone, config = [], guest.params["clone"], source["config"]
    who = f"clone: {guest.kind.noun} {source['vmid']}"
    full = not source.get("template") if clone.get("full") is None else clone["full"]
    if not full and not source.get("template"):
        problems.append(f"{who} is no template, and only a template has linked clones: leave full out")
    elif not full and clone.get("storage"):
        problems.append(f"{who} has linked clones on its own storage only: leave storage out, or set full")
    if guest.kind is not QEMU:
        paths = [key for key, value in sorted(config.items()) if key.startswith("mp") and str(value).startswith("/")]
        if paths:
            problems.append(f"{who} has {', '.join(paths)}, which is no volume and cannot be cloned: take it off first")
        if full and source.get("status") == "running" and not clone.get("snapname"):
            problems.append(f"{who} is running, stop it first or clone one of its snapshots (snapname)")
    if guest.node != source["node"]:
        values = [guest.current(key) for key in guest.inherited if guest.kind.option(key)]
        used = {value["storage"] for value in values if isinstance(value, dict) and ":" in value.get("volume", "")}
        own = sorted(name for name in used if not fleet.storages.get((source["node"], name), {}).get("shared"))
        if own:
            problems.append(
                f"{who} is on node '{source['node']}', and its clone would be on storage '{', '.join(own)}', which "
                f"node '{guest.node}' does not share: leave node out, or set storage to one that is shared"
            )
    return problems


def departures(fleet: Fleet, guest: Guest) -> list[str]:
    """What keeps a guest on its node."""
    problems, local = [], []
    running = guest.running and guest.state != "stopped"
    tied = [key for key, value in sorted(guest.config.items()) if guest.kind.tied(key, str(value))]
    if tied:
        problems.append(
            f"{', '.join(tied)} belong to node '{guest.node}' and keep it from being migrated, take them off first"
        )
    for key in sorted(guest.config):
        option = guest.kind.option(key)
        value = guest.current(key) if option and isinstance(option.kind, Mount) else None
        if not isinstance(value, dict) or ":" not in value.get("volume", ""):
            continue
        storage, origin = value["storage"], value["volume"].partition(":")[0]
        if value.get("media") == "cdrom" and "cloudinit" not in value["volume"]:
            if not fleet.storages.get((guest.node, origin), {}).get("shared"):
                problems.append(
                    f"{key} holds {value['volume']}, which node '{guest.target}' cannot read: take it out first"
                )
        elif (guest.target, storage) not in fleet.storages:
            known = ", ".join(sorted(name for node, name in fleet.storages if node == guest.target))
            problems.append(
                f"{key} would be on storage '{storage}', which node '{guest.target}' does not have: set target_storage "
                f"(it has {known or 'none that this user may see'})"
            )
        elif not fleet.storages[guest.target, storage].get("shared"):
            local.append(key)
    if local and running and guest.kind is QEMU and not guest.params.get("with_local_disks"):
        problems.append(
            f"{', '.join(local)} are on storages of node '{guest.node}' only: set with_local_disks to have them copied "
            "while it runs, or stop it first"
        )
    return problems


def kept(fleet: Fleet, plan: Plan, made: bool) -> list[str]:
    """What the snapshots of a guest keep from being done."""
    guest = plan.guest
    names = [item["name"] for item in fleet.client.get(f"{guest.path}/snapshot") if item["name"] != "current"]
    if made and names:
        return [f"it has snapshots ({', '.join(sorted(names))}) and cannot become a template, remove them first"]
    problems = []
    for name in sorted(names):
        config = fleet.client.get(f"{guest.path}/config", snapshot=name)
        for key in plan.moves:
            volume = str(guest.config[key]).partition(",")[0]
            if any(str(value).partition(",")[0] == volume for value in config.values()):
                problems.append(
                    f"the old volume of {key} is part of snapshot '{name}' and cannot be deleted: leave delete_moved "
                    "out, or remove the snapshot first"
                )
    return problems
