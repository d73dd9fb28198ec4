# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State of users, groups, roles and their rights, of tokens, realms and second factors."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import struct
import time
import urllib.parse
import uuid
from collections.abc import Callable
from typing import Any

from aiohttp import web
from fakepve import PveError, shapes
from fakepve.server import USER, ok, params

from tests.lab.records import Area, Records, Values

GROUPS, USERS, ROLES, DOMAINS = "/access/groups", "/access/users", "/access/roles", "/access/domains"
TOKEN = "/access/users/{userid}/token/{tokenid}"
FACTORS, FACTOR = "/access/tfa/{userid}", "/access/tfa/{userid}/{id}"
ACL_PATH = re.compile(
    r"/|/access(/groups|/realm)?(/[\w.-]+)?|/(nodes|pool|storage|mapping|sdn)(/[\w.-]+)*|/vms(/[1-9]\d{2,})?"
)
# The roles that come with Proxmox VE, besides those that fakepve knows.
NOT_FOR_ADMINISTRATORS = (
    *("Mapping.Modify", "Permissions.Modify", "Realm.Allocate"),
    *("Sys.AccessNetwork", "Sys.Incoming", "Sys.Modify", "Sys.PowerMgmt"),
)
SPECIAL = {
    **shapes.ROLES,
    "PVEAdmin": [name for name in shapes.PRIVILEGES if name not in NOT_FOR_ADMINISTRATORS],
    "PVEDatastoreAdmin": [name for name in shapes.PRIVILEGES if name.startswith("Datastore.")],
    "PVEDatastoreUser": ["Datastore.AllocateSpace", "Datastore.Audit"],
    "PVEMappingAdmin": ["Mapping.Audit", "Mapping.Modify", "Mapping.Use"],
    "PVEMappingUser": ["Mapping.Audit", "Mapping.Use"],
    "PVEPoolAdmin": ["Pool.Allocate", "Pool.Audit"],
    "PVEPoolUser": ["Pool.Audit"],
    "PVESDNAdmin": ["SDN.Allocate", "SDN.Audit", "SDN.Use"],
    "PVESDNUser": ["SDN.Audit", "SDN.Use"],
    "PVESysAdmin": ["Sys.Audit", "Sys.Console", "Sys.Syslog"],
    "PVETemplateUser": ["VM.Audit", "VM.Clone"],
    "PVEUserAdmin": ["Group.Allocate", "Realm.AllocateUser", "User.Modify"],
    "PVEVMAdmin": [name for name in shapes.PRIVILEGES if name.startswith("VM.")],
    "PVEVMUser": [
        *("VM.Audit", "VM.Backup", "VM.Config.CDROM", "VM.Config.Cloudinit", "VM.Console", "VM.PowerMgmt"),
        *("VM.GuestAgent.Audit", "VM.GuestAgent.FileRead", "VM.GuestAgent.FileSystemMgmt", "VM.GuestAgent.FileWrite"),
    ],
}
# The realms that are always there, and the comments that they have without being given one.
BUILT_IN = {"pam": "Linux PAM standard authentication", "pve": "Proxmox VE authentication server"}
PROFILE = ("enable", "expire", "firstname", "lastname", "email", "comment", "keys")


def words(text: Any) -> list[str]:
    return [word for word in re.split(r"[\s,;]+", str(text or "")) if word]


def without_empty(values: Values) -> Values:
    """The file holds no option for an empty text."""
    return {key: value for key, value in values.items() if value != ""}


def stored_user(values: Values) -> Values:
    kept = without_empty({key: value for key, value in values.items() if key not in ("password", "append", "full")})
    return {"enable": 1, "expire": 0, **kept, "groups": ",".join(sorted(set(words(values.get("groups")))))}


def shown_user(values: Values) -> Values:
    shown = {key: value for key, value in values.items() if key in PROFILE}
    return {**shown, "groups": words(values.get("groups"))}


def stored_role(values: Values) -> Values:
    return {"privs": ",".join(sorted(set(words(values.get("privs")))))}


def stored_realm(values: Values) -> Values:
    """Property strings are sorted by their keys; what tests the connection is no option."""
    kept = {key: value for key, value in without_empty(values).items() if key != "check-connection"}
    if "sync-defaults-options" in kept:
        kept["sync-defaults-options"] = ",".join(sorted(kept["sync-defaults-options"].split(",")))
    return kept


def without_password(values: Values) -> Values:
    return {key: value for key, value in values.items() if key != "password"}


def listed_realm(values: Values) -> Values:
    return {key: value for key, value in values.items() if key in ("type", "comment", "default", "tfa")}


def totp(secret: str, moment: float, digits: int, period: int, algorithm: str) -> str:
    """The code of RFC 6238."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    digest = hmac.new(key, struct.pack(">Q", int(moment) // period), getattr(hashlib, algorithm.lower())).digest()
    offset = digest[-1] & 15
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return str(number % 10**digits).zfill(digits)


class Access(Records):
    """Mixin of FakePve."""

    areas_access = (
        Area(
            GROUPS,
            "groupid",
            missing=(500, "group '{id}' does not exist"),
            taken="create group failed: group '{id}' already exists",
            stored=without_empty,
        ),
        Area(
            USERS,
            "userid",
            missing=(500, "no such user ('{id}')"),
            taken="create user failed: user '{id}' already exists",
            stored=stored_user,
            shown=shown_user,
            idempotent=True,
        ),
        Area(
            ROLES,
            "roleid",
            missing=(500, "delete role failed: role '{id}' does not exist"),
            taken="create role failed: role '{id}' already exists",
            stored=stored_role,
        ),
        Area(
            DOMAINS,
            "realm",
            missing=(500, "domain '{id}' does not exist"),
            taken="add auth server failed: domain '{id}' already exists",
            stored=stored_realm,
            shown=without_password,
            listed=listed_realm,
            required=("type", "server1", "base_dn", "user_attr", "domain", "client-id", "issuer-url"),
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rights: dict[tuple[str, str, str], Values] = {}  # by path, role and who
        self.user_tokens: dict[str, dict[str, Values]] = {}
        self.factors: dict[str, dict[str, Values]] = {}
        self.area(USERS)["root@pam"] = stored_user({})
        self.area(ROLES).update(
            {name: {**stored_role({"privs": ",".join(privs)}), "special": 1} for name, privs in SPECIAL.items()}
        )
        self.area(DOMAINS).update({name: {"type": name, "comment": comment} for name, comment in BUILT_IN.items()})

    def _routes_access(self) -> list[tuple[str, str, Callable[..., Any]]]:
        handlers = {
            ("GET", "/access/acl"): self._acl_list,
            ("PUT", "/access/acl"): self._acl_update,
            ("GET", "/access/users/{userid}/token"): self._token_list,
            ("GET", TOKEN): self._token_read,
            ("POST", TOKEN): self._token_create,
            ("PUT", TOKEN): self._token_update,
            ("DELETE", TOKEN): self._token_delete,
            ("GET", FACTORS): self._factor_list,
            ("POST", FACTORS): self._factor_create,
            ("PUT", FACTOR): self._factor_update,
            ("DELETE", FACTOR): self._factor_delete,
        }

        def route(handler: Callable[[Values, str], Any]) -> Callable[..., Any]:
            async def handle(values: Values, user: str) -> Any:
                return handler(values, user)

            return handle

        own = [(verb, path, route(handler)) for (verb, path), handler in handlers.items()]
        return [*super()._routes_access(), *own]

    # ------------------------------------------------------------------------------- users, groups and roles

    def record_list(self, area: Area, values: Values) -> list[Values]:
        found = super().record_list(area, values)
        if area.collection == GROUPS:
            return [{**item, "users": ",".join(self.members(item["groupid"]))} for item in found]
        if area.collection == USERS:
            return [self._listed_user(item, bool(values.get("full"))) for item in found]
        return [{"special": 0, **item} for item in found] if area.collection == ROLES else found

    def members(self, groupid: str) -> list[str]:
        return sorted(userid for userid, user in self.area(USERS).items() if groupid in words(user["groups"]))

    def _listed_user(self, item: Values, full: bool) -> Values:
        if not full:
            return {key: value for key, value in item.items() if key != "groups"}
        tokens = [{"tokenid": name, **token} for name, token in self.user_tokens.get(item["userid"], {}).items()]
        return {**item, **({"tokens": tokens} if tokens else {})}

    def record_read(self, area: Area, ident: str) -> Values:
        found = super().record_read(area, ident)
        if not area.collection.startswith("/access/"):
            return found
        if area.collection == ROLES:
            return dict.fromkeys(words(found["privs"]), 1)
        # Who asks for one knows its name, and only realms have a digest.
        hidden = (area.key,) if area.collection == DOMAINS else (area.key, "digest")
        alone = {key: value for key, value in found.items() if key not in hidden}
        if area.collection == GROUPS:
            return {**alone, "members": self.members(ident)}
        return {**alone, "tokens": self.user_tokens.get(ident) or None} if area.collection == USERS else alone

    async def _password(self, request: web.Request) -> web.Response:
        """Who may change users changes their passwords, and proves who is asking by the password of their own."""
        user = request[USER]
        if "!" in user:
            raise PveError(403, "Permission check failed (API token not allowed)")
        given = self._verify(request, await params(request))
        if user != "root@pam" and not self.check_password(user, given.get("confirmation-password") or ""):
            raise PveError(
                400, "Parameter verification failed.", {"confirmation-password": "password is required to modify user"}
            )
        self.users[given["userid"]] = given["password"]
        return ok()

    def _check_groups(self, verb: str, values: Values) -> None:
        for group in words(values.get("groups")):
            if group not in self.area(GROUPS):
                raise PveError(500, f"{verb} user failed: no such group '{group}'")

    def _check_role(self, ident: str, values: Values) -> None:
        unknown = [name for name in words(values.get("privs")) if name not in shapes.PRIVILEGES]
        wrong = {"privs": f"invalid format - invalid privilege '{unknown[0]}'\n"} if unknown else {}
        if ident.lower().startswith("pve"):
            wrong["roleid"] = "cannot use role ID starting with the (case-insensitive) 'PVE' namespace"
        if wrong:
            raise PveError(400, "Parameter verification failed.", wrong)

    def record_create(self, area: Area, ident: str, values: Values) -> Any:
        if area.collection == USERS:
            self._check_groups("create", values)
        if area.collection == ROLES:
            self._check_role(ident, values)
        if area.collection == DOMAINS:
            if values["type"] in ("pam", "pve"):
                raise PveError(500, f"add auth server failed: unable to create builtin type '{values['type']}'")
            needed = {"ldap": ("server1", "base_dn", "user_attr"), "ad": ("server1", "domain")}
            for option in needed.get(values["type"], ("client-id", "issuer-url")):
                if option not in values:
                    raise PveError(500, f"add auth server failed: missing value for required option '{option}'")
            self._only_default(values)
        super().record_create(area, ident, values)
        if area.collection == USERS and "password" in values:
            self.users[ident] = values["password"]

    def record_update(self, area: Area, ident: str, values: Values) -> Any:
        if area.collection == USERS:
            if ident not in self.area(USERS):
                raise PveError(500, f"update user failed: no such user ('{ident}')")
            self._check_groups("update", values)
            if values.get("append"):
                values = {**values, "groups": f"{self.area(USERS)[ident]['groups']},{values['groups']}"}
        if area.collection == ROLES and self.area(ROLES).get(ident, {}).get("special"):
            raise PveError(500, f"auto-generated role '{ident}' cannot be modified")
        super().record_update(area, ident, values)
        if area.collection == DOMAINS:
            self._only_default(values, ident)
            if ident in BUILT_IN:
                self.area(DOMAINS)[ident].setdefault("comment", BUILT_IN[ident])

    def _only_default(self, values: Values, ident: str = "") -> None:
        """One realm is the default, whichever was made it last."""
        for name, realm in self.area(DOMAINS).items():
            if values.get("default") and name != ident:
                realm.pop("default", None)

    def record_delete(self, area: Area, ident: str) -> Any:
        if area.collection == ROLES and self.area(ROLES).get(ident, {}).get("special"):
            raise PveError(500, f"auto-generated role '{ident}' cannot be deleted")
        if area.collection == GROUPS and ident not in self.area(GROUPS):
            raise PveError(500, f"delete group failed: group '{ident}' does not exist")
        if area.collection == DOMAINS and ident not in self.area(DOMAINS):
            raise PveError(500, f"delete auth server failed: authentication domain '{ident}' does not exist")
        super().record_delete(area, ident)
        if area.collection in (GROUPS, USERS, ROLES):
            # Nothing refers to what is gone.
            self.rights = {
                key: right
                for key, right in self.rights.items()
                if ident not in (key[1], key[2], key[2].partition("!")[0])
            }
        if area.collection == GROUPS:
            for user in self.area(USERS).values():
                user["groups"] = ",".join(group for group in words(user["groups"]) if group != ident)
        if area.collection == USERS:
            for tokenid in self.user_tokens.pop(ident, {}):
                self.apitokens.pop(f"{ident}!{tokenid}", None)
            self.factors.pop(ident, None)
            self.users.pop(ident, None)

    # ------------------------------------------------------------------------------------------------ rights

    def allowed(self, user: str, path: str, priv: str) -> bool:
        """Whether a test has granted it, or the rights that the API was told of give it."""
        return super().allowed(user, path, priv) or priv in self.privileges(user, path)

    def privileges(self, user: str, path: str) -> set[str]:
        """Those of a user or a token; one that is separated has what both it and its user have."""
        owner, _, token = user.partition("!")
        found = self._privileges(owner, path)
        if token and int(self.user_tokens.get(owner, {}).get(token, {}).get("privsep", 1)):
            found &= self._privileges(user, path)
        return found

    def _privileges(self, who: str, path: str) -> set[str]:
        groups = words(self.area(USERS).get(who, {}).get("groups"))
        paths = [path]
        if path.startswith("/vms/"):
            paths += [f"/pool/{name}" for name, vmids in self.pools.items() if int(path.split("/")[2]) in vmids]
        roles: set[str] = set()
        for place in paths:
            above = [place[:end] for end, sign in enumerate(place) if sign == "/" and end]
            roles |= self._roles(who, groups, ["/", *above, *([place] if place != "/" else [])])
        if "NoAccess" in roles:
            return set()
        return {privilege for role in roles for privilege in words(self.area(ROLES).get(role, {}).get("privs"))}

    def _roles(self, who: str, groups: list[str], levels: list[str]) -> set[str]:
        """What is said at a level takes the place of what is said above it, and who is named that of a group."""
        found: set[str] = set()
        for level in levels:
            here = [r for r in self.rights.values() if r["path"] == level and (r["propagate"] or level == levels[-1])]
            own = {right["roleid"] for right in here if right["ugid"] == who and right["type"] != "group"}
            shared = {right["roleid"] for right in here if right["type"] == "group" and right["ugid"] in groups}
            found = own or shared or found
        return found

    async def _permissions(self, values: Values, user: str) -> Values:
        held = await super()._permissions(values, user)
        who = values.get("userid") or user
        for path in sorted({path for path, _, _ in self.rights}):
            privileges = self.privileges(who, path)
            if privileges and values.get("path") in (None, path):
                held[path] = {**held.get(path, {}), **dict.fromkeys(sorted(privileges), 1)}
        return held

    def access_state(self) -> Values:
        """What the records do not hold, to be kept over a restart."""
        return {
            "rights": list(self.rights.values()),
            "user_tokens": self.user_tokens,
            "secrets": {name: secret for name, secret in self.apitokens.items() if self._is_told(name)},
            "passwords": self.users,
            "factors": self.factors,
        }

    def restore_access(self, state: Values) -> None:
        self.rights = {(r["path"], r["roleid"], r["ugid"]): r for r in state.get("rights", [])}
        self.user_tokens = state.get("user_tokens", {})
        self.apitokens.update(state.get("secrets", {}))
        self.users.update(state.get("passwords", {}))
        self.factors = state.get("factors", {})

    def _is_told(self, name: str) -> bool:
        """Whether a token was made through the API."""
        owner, _, token = name.partition("!")
        return token in self.user_tokens.get(owner, {})

    def _acl_list(self, values: Values, user: str) -> list[Values]:
        return list(self.rights.values())

    def _acl_update(self, values: Values, user: str) -> None:
        path = "/" + "/".join(part for part in values["path"].split("/") if part)
        if not ACL_PATH.fullmatch(path):
            raise PveError(400, "Parameter verification failed.", {"path": f"invalid ACL path '{values['path']}'"})
        who = {
            **dict.fromkeys(words(values.get("users")), "user"),
            **dict.fromkeys(words(values.get("groups")), "group"),
            **dict.fromkeys(words(values.get("tokens")), "token"),
        }
        for role in words(values["roles"]):
            for name, kind in who.items():
                if values.get("delete"):
                    self.rights.pop((path, role, name), None)
                    continue
                if role not in self.area(ROLES):
                    raise PveError(500, f"ACL update failed: role '{role}' does not exist")
                if kind != "token" and name not in self.area(USERS if kind == "user" else GROUPS):
                    raise PveError(500, f"ACL update failed: {kind} '{name}' does not exist")
                propagate = int(values.get("propagate", 1))
                self.rights[path, role, name] = {
                    "path": path,
                    "roleid": role,
                    "ugid": name,
                    "type": kind,
                    "propagate": propagate,
                }

    # ------------------------------------------------------------------------------------------------ tokens

    def _tokens(self, values: Values) -> dict[str, Values]:
        if values["userid"] not in self.area(USERS):
            raise PveError(500, f"no such user ('{values['userid']}')")
        return self.user_tokens.setdefault(values["userid"], {})

    def _token(self, values: Values) -> Values:
        tokens = self._tokens(values)
        if values["tokenid"] not in tokens:
            raise PveError(500, f"no such token '{values['tokenid']}' for user '{values['userid']}'")
        return tokens[values["tokenid"]]

    def _token_list(self, values: Values, user: str) -> list[Values]:
        return [{"tokenid": name, **token} for name, token in self._tokens(values).items()]

    def _token_read(self, values: Values, user: str) -> Values:
        return dict(self._token(values))

    def _token_secret(self, values: Values) -> Values:
        name = f"{values['userid']}!{values['tokenid']}"
        self.apitokens[name] = str(uuid.uuid4())
        return {"full-tokenid": name, "value": self.apitokens[name]}

    def _token_create(self, values: Values, user: str) -> Values:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9.\-_]+", values["tokenid"]):
            raise PveError(400, "Parameter verification failed.", {"tokenid": "value does not match the regex pattern"})
        tokens = self._tokens(values)
        if values["tokenid"] in tokens:
            raise PveError(400, "Parameter verification failed.", {"tokenid": "Token already exists."})
        given = {key: values[key] for key in ("comment", "expire", "privsep") if key in values}
        tokens[values["tokenid"]] = {"expire": 0, "privsep": 1, **given}
        return {**self._token_secret(values), "info": {key: str(value) for key, value in given.items()}}

    def _token_update(self, values: Values, user: str) -> Values:
        token = self._token(values)
        token.update({key: values[key] for key in ("comment", "expire", "privsep") if key in values})
        for key in words(values.get("delete")):
            token.pop(key, None)
        if token.get("comment") == "":
            del token["comment"]
        return {**token, **(self._token_secret(values) if values.get("regenerate") else {})}

    def _token_delete(self, values: Values, user: str) -> None:
        self._token(values)
        del self.user_tokens[values["userid"]][values["tokenid"]]
        name = f"{values['userid']}!{values['tokenid']}"
        self.apitokens.pop(name, None)
        self.rights = {key: right for key, right in self.rights.items() if key[2] != name}

    # ---------------------------------------------------------------------------------------- second factors

    def _factors(self, values: Values, user: str) -> dict[str, Values]:
        """The factors of a user, for somebody who may change them."""
        if "!" in user:
            raise PveError(403, "Permission check failed (API token not allowed)")
        if user != "root@pam" and not self.check_password(user, values.get("password") or ""):
            raise PveError(
                400, "Parameter verification failed.", {"password": "password is required to modify TFA data"}
            )
        if values["userid"] not in self.area(USERS):
            raise PveError(500, f"no such user ('{values['userid']}')")
        return self.factors.setdefault(values["userid"], {})

    def _factor_list(self, values: Values, user: str) -> list[Values]:
        entries = self.factors.get(values["userid"], {}).values()
        return [{key: value for key, value in entry.items() if key != "uri"} for entry in entries]

    def _factor_create(self, values: Values, user: str) -> Values:
        factors = self._factors(values, user)
        uri = urllib.parse.urlparse(values.get("totp") or "")
        query = dict(urllib.parse.parse_qsl(uri.query))
        if values["type"] != "totp" or uri.scheme != "otpauth" or uri.netloc != "totp":
            raise PveError(500, "failed to parse totp uri")
        period, digits = int(query.get("period", 30)), int(query.get("digits", 6))
        around = [time.time() + step * period for step in (-1, 0, 1)]
        algorithm = query.get("algorithm", "SHA1")
        if values.get("value") not in [totp(query["secret"], when, digits, period, algorithm) for when in around]:
            raise PveError(400, "Parameter verification failed.", {"value": "failed to verify TOTP challenge"})
        ident = str(uuid.uuid4())
        factors[ident] = {
            "id": ident,
            "type": "totp",
            "description": values.get("description", ""),
            "created": int(time.time()),
            "uri": values["totp"],
        }
        return {"id": ident}

    def _factor_update(self, values: Values, user: str) -> None:
        entry = self._factors(values, user).get(values["id"])
        if entry is None:
            raise PveError(404, f"no such entry '{values['id']}'")
        entry.update({key: values[key] for key in ("description", "enable") if key in values})
        if entry.get("enable"):
            # What is enabled, as it mostly is, is not said.
            del entry["enable"]

    def _factor_delete(self, values: Values, user: str) -> None:
        if self._factors(values, user).pop(values["id"], None) is None:
            raise PveError(404, f"no such TFA entry '{values['id']}' of user '{values['userid']}'")
