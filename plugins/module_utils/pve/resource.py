# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any object of the API that is not a guest, from what is to what is wanted: read, compare, apply, read back.

A module is a ``Table``: where the object is, what names it, and its options. What the table cannot say is a method
of a subclass of ``Resource``.
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass, field
from typing import Any, Collection, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import (
    PveError,
    Unreachable,
    connect,
    connection_spec,
)
from ansible_collections.onprem.cloud.plugins.module_utils.pve.properties import HIDDEN, Invalid, Option, PropertyString
from ansible_collections.onprem.cloud.plugins.module_utils.pve.tasks import (
    LOCK_PAUSE,
    LOCKED,
    LOST_TRIES,
    STALE,
    STALE_TRIES,
    TaskFailed,
    Tasks,
)

EMPTY = (None, "", [], {})
CONFIGID = r"[A-Za-z][A-Za-z0-9_-]+"


@dataclass(frozen=True)
class Table:
    """Where an object is and what it holds."""

    noun: str  # what messages call it: "storage"
    path: str  # the collection, or the object itself if nothing names it; {node} is filled from the options
    options: dict[str, Option]
    id: str = ""  # the option that names the object; empty for an object that there is once
    key: str = ""  # the API's name of the id, where it is another one
    detail: bool = False  # the listing leaves options out, the object is read as well
    listing: dict[str, Any] = field(default_factory=dict)  # parameters of the listing
    lower: bool = False  # PVE keeps the id in lower case
    configid: bool = False  # a new object is named as PVE names sections of its files
    required: tuple[str, ...] = ()  # what a new object needs
    # What to do where a fixed option is another one than wanted; nothing that loses data.
    instead: str = "remove it (state absent) and create it anew, or choose another name"
    # Further options that are part of the path, such as the node.
    places: dict[str, dict[str, Any]] = field(default_factory=dict)
    elsewhere: tuple[str, ...] = ()  # the same below a node or a guest; a subclass chooses
    deletes: bool = True  # an update takes a list of what goes; if not, an empty value is sent
    missing: str = ""  # PVE's words (a regular expression) for no such object; with them it is read alone, not listed
    delete_array: bool = False  # that list is an array of the API, not a text with commas
    # By type: the options that only some types have, and those that a new object of the type needs.
    belongs: dict[str, Collection[str]] = field(default_factory=dict)
    needed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # What PVE brings along and does not part with: how it is again once it has been deleted.
    builtin: dict[str, dict[str, Any]] = field(default_factory=dict)


def words(value: Any) -> str:
    """A value in a sentence."""
    return ", ".join(map(str, value)) if isinstance(value, list) else f"'{value}'"


class Places(Dict[str, Any]):
    """What a path is filled with; what the options do not say stays open, for a subclass to find out."""

    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"


class Resource:
    """One object, as it is wanted and as it was last read."""

    # Secrets, by what their options and the API call them, that pvesh is told by its standard input. On the way to
    # another node they would be on a command line there, so they are those of requests that every node answers itself.
    private: tuple[str, ...] = ()

    def __init__(self, module: AnsibleModule, table: Table) -> None:
        self.module, self.table, self.params = module, table, module.params
        self.client = connect(module)
        self.client.private = self.private
        self.tasks = Tasks(self.client, float(self.params["task_timeout"]), module.warn)
        self.path = table.path.format_map(Places(self.params))
        self.state: str = self.params.get("state", "present")
        self.name = str(self.params[table.id]) if table.id else ""
        if table.lower:
            self.name = self.name.lower()
        self.raw: dict[str, Any] | None = None  # as PVE answers it; None if it is not there
        self.problems: list[str] = []
        self.wanted: dict[str, Any] = {}  # canonical; None means that the option goes
        self.sets: dict[str, Any] = {}
        self.deletes: list[str] = []

    def __str__(self) -> str:
        return f"{self.table.noun} '{self.name}'" if self.name else self.table.noun

    def problem(self, text: str) -> None:
        self.problems.append(f"{self}: {text}" + ("" if text.endswith("?") else "."))

    # ------------------------------------------------------------------------------- what the API calls things

    @property
    def key(self) -> str:
        return self.table.key or self.table.id

    @property
    def item_path(self) -> str:
        return f"{self.path}/{self.name}" if self.table.id else self.path

    def api_key(self, option: str) -> str:
        return self.table.options[option].key or option.replace("_", "-")

    def is_fixed(self, option: str) -> bool:
        """Whether PVE never changes the option once the object exists."""
        return self.table.options[option].fixed

    # ------------------------------------------------------------------------------------------------- reading

    def fetch(self) -> dict[str, Any] | None:
        """The object as PVE has it, or None."""
        if not self.table.id:
            return self.client.get(self.path) or {}
        if self.table.missing:
            try:
                return self.client.get(self.item_path) or {}
            except PveError as error:
                if not re.search(self.table.missing, error.text):
                    raise
                return None
        listing = self.client.get(self.path, **self.table.listing)
        found = next((item for item in listing if str(item.get(self.key)) == self.name), None)
        if found is not None and self.table.detail:
            found = {**found, **(self.client.get(self.item_path) or {})}
        return found

    def current(self, option: str, answer: dict[str, Any] | None = None) -> Any:
        """The canonical value that PVE has now, or has in another answer; what is not there means its default."""
        spec = self.table.options[option]
        raw = ((self.raw or {}) if answer is None else answer).get(self.api_key(option))
        if raw is None or (isinstance(raw, str) and not raw.strip()):
            return spec.default
        try:
            return spec.kind.parse(raw)
        except Invalid:
            return raw

    # ------------------------------------------------------------------------------------------------ planning

    def parse(self) -> None:
        """Bring the options that were given into canonical form."""
        for name, spec in self.table.options.items():
            value = self.params.get(name)
            if value is None:
                continue
            try:
                parsed = None if value in EMPTY else spec.kind.parse(value)
                if isinstance(spec.kind, PropertyString) and parsed:
                    spec.kind.check(parsed)
            except Invalid as error:
                self.problem(f"{name}: {error}")
                continue
            self.wanted[name] = None if parsed in EMPTY else parsed
            if self.wanted[name] is None and (spec.fixed or name in self.table.required):
                self.problem(f"{name} is empty, give it a value or leave it out")

    def compare(self) -> None:
        """What has to be set and deleted to get from what is to what is wanted."""
        self.sets, self.deletes = {}, []
        for name, value in self.wanted.items():
            spec = self.table.options[name]
            if spec.making and self.raw is not None:
                continue
            if spec.secret:
                if value is not None and (self.raw is None or self.params.get("update_password") == "always"):
                    self.sets[name] = value
                continue
            current = self.current(name) if self.raw is not None else spec.default
            if value is None:
                if current != spec.default:
                    self.deletes.append(name)
                continue
            if isinstance(spec.kind, PropertyString) and isinstance(current, dict):
                value = spec.kind.complete(value, current)
            if self.raw is not None and value == current:
                continue
            if self.raw is not None and self.is_fixed(name):
                have, want = words(self.view(name, current)), words(self.view(name, value))
                self.problem(f"{name} is {have} and cannot be changed to {want}: {self.table.instead.format(name)}")
                continue
            self.sets[name] = value

    def after(self, name: str) -> Any:
        """The value that the option is going to have."""
        if name in self.deletes:
            return self.table.options[name].default
        return self.sets[name] if name in self.sets else self.current(name)

    def validate(self) -> None:
        """What a module checks before the first write; it calls problem()."""

    def not_there(self, text: str, remedy: str = "") -> None:
        """What is needed and missing: in check mode, what comes before in the same run may be about to make it."""
        if self.module.check_mode:
            self.module.warn(f"{self}: {text}.")
        else:
            self.problem(f"{text}{remedy}")

    @property
    def kind(self) -> str | None:
        """The type, of objects that have one."""
        return (self.raw or self.wanted).get("type")

    def strangers(self, kind: str) -> set[str]:
        """The options that belong to other types only."""
        belongs = self.table.belongs
        return {name for names in belongs.values() for name in names} - set(belongs[kind])

    def check_kind(self) -> None:
        """Only what belongs to the type, and all that it needs."""
        kind, belongs = self.kind, self.table.belongs
        if kind is None:
            return
        strangers = self.strangers(kind)
        for name in self.wanted:
            if name in strangers:
                owners = " or ".join(other for other in belongs if name in belongs[other])
                self.problem(f"{name} does not belong to type '{kind}', leave it out or choose type {owners}")
        for name in self.table.needed.get(kind, ()):
            if name in self.wanted and self.wanted[name] is None:
                self.problem(f"{name} is empty, give it a value or leave it out")
            elif self.raw is None and name not in self.wanted:
                self.problem(f"{name} is missing, a new {self.table.noun} of type '{kind}' needs it")

    def check_command_line(self) -> None:
        """Where pvesh takes a secret on its command line, where others can read it, it is given none."""
        if not self.client.local or not (self.raw is None or self.sets or self.deletes):
            return
        options, places = self.table.options, self.table.places
        names = [name for name in self.sets if options[name].secret or options[name].hidden]
        names += [name for name in places if places[name].get("no_log") and self.params[name]]
        for name in [name for name in names if name not in self.private]:
            self.problem(
                f"{name} would be on the command line of pvesh, where every login of the node can read it: use "
                "api_backend 'https' with the password of root@pam, or set it at the keyboard"
            )

    def plan(self) -> str:
        """What is to be done: 'create', 'update', 'delete' or nothing. Raises PveError for what cannot be."""
        if self.state == "absent":
            untouched = self.name in self.table.builtin and (self.raw or {}).get("origin") == "builtin"
            return "delete" if self.raw is not None and not untouched else ""
        self.compare()
        if self.raw is None:
            if self.table.configid and not re.fullmatch(CONFIGID, self.name):
                self.problem("that is no name of letters, digits, dashes and underscores that begins with a letter")
            for name in self.table.required:
                if self.wanted.get(name) is None:
                    self.problem(f"{name} is missing, a new {self.table.noun} needs it")
        self.validate()
        self.check_command_line()
        if self.problems:
            raise PveError("\n".join(dict.fromkeys(self.problems)))
        if self.raw is None:
            return "create"
        return "update" if self.sets or self.deletes else ""

    def view(self, name: str, value: Any) -> Any:
        """A value as the diff shows it; what was left to PVE is not shown."""
        spec, wanted = self.table.options[name], self.wanted.get(name)
        if value in EMPTY:
            return None
        if spec.secret or spec.hidden:
            return HIDDEN
        if isinstance(spec.kind, PropertyString) and isinstance(value, dict):
            return spec.kind.show(spec.kind.visible(value, wanted if isinstance(wanted, dict) else value))
        return value

    def unseen(self, name: str) -> bool:
        """Whether PVE shows nothing of the option."""
        return self.table.options[name].secret or self.table.options[name].making

    def shown(self, names: list[str]) -> dict[str, Any]:
        """The options as they were last read, for the diff."""
        if self.raw is None:
            return {}
        strangers = self.strangers(self.raw["type"]) if self.table.belongs else set()
        seen = [name for name in names if name not in strangers and not self.unseen(name)]
        views = {name: self.view(name, self.current(name)) for name in seen}
        return {name: value for name, value in views.items() if value is not None}

    def predicted(self, action: str, before: dict[str, Any]) -> dict[str, Any]:
        """What the diff will show afterwards."""
        if action == "delete":
            return dict(self.table.builtin.get(self.name, {}))
        told = {name: value for name, value in self.sets.items() if not self.table.options[name].making}
        after = {name: self.view(name, value) for name, value in told.items()}
        gone = {name: self.view(name, self.table.options[name].default) for name in self.deletes}
        return {name: value for name, value in {**before, **after, **gone}.items() if value is not None}

    # ------------------------------------------------------------------------------------------------- writing

    def values(self, names: dict[str, Any]) -> dict[str, Any]:
        """Options as the API takes them."""
        return {self.api_key(name): self.table.options[name].kind.format(value) for name, value in names.items()}

    def gone(self) -> list[str]:
        """What an update deletes, as the API calls it."""
        return [self.api_key(name) for name in self.deletes]

    def create(self) -> Any:
        return self.client.post(self.path, **{self.key: self.name, **self.values(self.sets)})

    def update(self) -> Any:
        values = self.values(self.sets)
        if not self.table.deletes:
            return self.client.put(self.item_path, **values, **{self.api_key(name): "" for name in self.deletes})
        gone = self.gone()
        if gone:
            values["delete"] = gone if self.table.delete_array else ",".join(gone)
        if (self.raw or {}).get("digest"):
            values["digest"] = self.raw["digest"]
        return self.client.put(self.item_path, **values)

    def delete(self) -> Any:
        return self.client.delete(self.item_path)

    def settle(self, path: str, *kinds: str, **which: Any) -> None:
        """Wait for the tasks of these kinds that are at work: an answer that was lost may have begun one.

        How they end does not matter, the caller looks.
        """
        for task in self.client.get(path, **which) or []:
            if str(task.get("type", "")).startswith(kinds) and not task.get("endtime"):
                with contextlib.suppress(TaskFailed):
                    self.tasks.wait(task["upid"], str(self))

    def apply(self, action: str) -> None:
        """Write, read back and plan again, until nothing is left to do."""
        deadline = time.monotonic() + self.tasks.timeout
        lost = stale = 0
        written = None
        while action:
            attempt = (action, dict(self.sets), list(self.deletes))
            secrets = [name for name in self.sets if self.table.options[name].secret]
            if attempt == written:
                raise PveError(
                    f"{self}: PVE accepted the change and reads back another value: {self.shown([*self.sets])}."
                )
            try:
                self.tasks.wait(getattr(self, action)(), f"{self}: {action}")
                written = attempt
                for name in secrets:  # cannot be read back
                    self.wanted.pop(name)
            except Unreachable:
                lost += 1
                if lost > LOST_TRIES:
                    raise
                time.sleep(min(0.1 * lost, 2))
            except PveError as error:
                if LOCKED.search(error.text) and time.monotonic() < deadline:
                    time.sleep(LOCK_PAUSE)
                elif STALE.search(error.text) and stale < STALE_TRIES:
                    stale += 1
                else:
                    raise
            self.raw = self.fetch()
            self.problems.clear()
            action = self.plan()

    # ------------------------------------------------------------------------------------------------- running

    def facts(self) -> dict[str, Any]:
        """What the module returns of the object, besides what it did; no secrets."""
        secret = {self.api_key(name) for name, spec in self.table.options.items() if spec.secret or spec.hidden}
        return {key: value for key, value in (self.raw or {}).items() if key not in secret}

    def run(self) -> dict[str, Any]:
        """Everything, in order; nothing is written if anything is wrong."""
        self.parse()
        if self.problems:
            raise PveError("\n".join(self.problems))
        self.raw = self.fetch()
        action = self.plan()
        names = list(self.table.options) if action == "delete" else sorted({*self.sets, *self.deletes})
        before = self.shown(names)
        after = self.predicted(action, before)
        if action and not self.module.check_mode:
            self.apply(action)
            secrets = {name for name, option in self.table.options.items() if option.secret}
            hidden = {name: value for name, value in after.items() if name in secrets}
            after = {**self.shown(names), **hidden}
        result = {"changed": bool(action), "action": action or "none", self.result_name: self.facts()}
        return {**result, "diff": {"before": before, "after": after}}

    @property
    def result_name(self) -> str:
        return self.table.noun.replace(" ", "_").replace("-", "_")


# The option of what belongs to one node.
NODE: dict[str, dict[str, Any]] = {"node": {"type": "str", "required": True}}


class OfNode(Resource):
    """Something that each node has of its own."""

    def __str__(self) -> str:
        return f"{super().__str__()} of node '{self.params['node']}'"


def argument_spec(table: Table) -> dict[str, Any]:
    """The Ansible options of a table, connection included."""
    spec: dict[str, Any] = {**connection_spec(), "task_timeout": {"type": "int", "default": 600}, **table.places}
    if table.id:
        spec[table.id] = {"type": "str", "required": True, "no_log": False}
        spec["state"] = {"type": "str", "choices": ["present", "absent"], "default": "present"}
    spec.update({name: dict(option.spec) for name, option in table.options.items()})
    if any(option.secret for option in table.options.values()):
        spec["update_password"] = {
            "type": "str",
            "choices": ["always", "on_create"],
            "default": "on_create",
            "no_log": False,
        }
    return spec


def run(module: AnsibleModule, table: Table, kind: type[Resource] = Resource) -> None:
    """A module's work, from its options to its result."""
    try:
        result = kind(module, table).run()
    except PveError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)
