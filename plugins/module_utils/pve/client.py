# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Proxmox VE API: one kept-alive session a thread, and failures as sentences that can be acted on."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any, Collection, Iterator, NamedTuple

from ansible.module_utils.basic import AnsibleModule, env_fallback, missing_required_lib

READ_TRIES, CONNECT_SECONDS = 6, 10
# What a proxy says in place of the API: the request may or may not have been carried out.
NO_ANSWER = (502, 503, 504, 596, 597, 599)
ROOT_ONLY = re.compile(r"only allowed for root@pam|user != root@pam|only root(@pam)? can", re.IGNORECASE)


class PveError(Exception):
    """PVE refused or failed: ``text`` holds its own words, ``str()`` the sentence for the user."""

    def __init__(self, sentence: str, text: str = "", status: int = 0) -> None:
        super().__init__(sentence)
        self.text, self.status = text or sentence, status


class Unreachable(PveError):
    """The API did not answer. A write may or may not have happened."""


def connection_spec() -> dict[str, Any]:
    """The connection options, with the names and environment variables of community.proxmox."""

    def env(name: str, **spec: Any) -> dict[str, Any]:
        return {**spec, "fallback": (env_fallback, [name])}

    return {
        "api_backend": env("PROXMOX_API_BACKEND", type="str", choices=["https", "local"], default="https"),
        "api_host": env("PROXMOX_HOST", type="str"),
        "api_port": env("PROXMOX_PORT", type="int"),
        "api_user": env("PROXMOX_USER", type="str"),
        "api_password": env("PROXMOX_PASSWORD", type="str", no_log=True),
        "api_token_id": env("PROXMOX_TOKEN_ID", type="str", no_log=False),
        "api_token_secret": env("PROXMOX_TOKEN_SECRET", type="str", no_log=True),
        "validate_certs": env("PROXMOX_VALIDATE_CERTS", type="bool", default=True),
        "ca_path": env("PROXMOX_CA_PATH", type="path"),
        "api_timeout": env("PROXMOX_API_TIMEOUT", type="int", default=60),
    }


def ssh_connection() -> list[str]:
    """SSH_CONNECTION of the login that this runs in (client, its port, server, its port); nothing without SSH."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    # sudo does not pass it on, but what called sudo has it.
    process = os.getppid() if "SUDO_COMMAND" in os.environ else 0
    while not words and process > 1:
        try:
            environment = Path(f"/proc/{process}/environ").read_text(errors="replace").split("\0")
            parent = re.search(r"(?m)^PPid:\s+(\d+)$", Path(f"/proc/{process}/status").read_text())
        except OSError:
            break
        words = next((line.partition("=")[2].split() for line in environment if line.startswith("SSH_CONNECTION=")), [])
        process = int(parent[1]) if parent else 0
    return words


def connect(module: AnsibleModule) -> Client:
    """The client that the module's options describe."""
    try:
        return Client(module.params)
    except ImportError as error:
        module.fail_json(msg=missing_required_lib(error.name or "proxmoxer"), exception=traceback.format_exc())
        raise


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and everything behind it; requests and urllib3 wrap the cause several times."""
    seen: list[BaseException] = []
    queue = [error]
    while queue:
        item = queue.pop(0)
        if isinstance(item, BaseException) and item not in seen:
            seen.append(item)
            yield item
            queue += [item.__cause__, item.__context__, getattr(item, "reason", None), *item.args]


class Answer(NamedTuple):
    """What pvesh said, in the terms of HTTP."""

    status_code: int
    text: str
    reason: str = ""

    @property
    def content(self) -> str:
        return self.text


VERBS = {"GET": "get", "POST": "create", "PUT": "set", "DELETE": "delete"}
# pvesh, told by its standard input what it else is told on its command line: that is for secrets.
PRIVATELY = [
    "perl",
    "-e",
    r"local $/; @ARGV = split /\0/, <STDIN>, -1; require PVE::CLI::pvesh; PVE::CLI::pvesh->run_cli_handler()",
]


class Pvesh:
    """The API as root@pam, through the program of the node that runs this: nothing else is needed there.

    A write that starts a task ends with it: pvesh shows the task's log, then the answer, and what it warns of goes to
    its standard error. So only its exit code tells whether it was refused.
    """

    def __init__(self, timeout: float, private: Collection[str]) -> None:
        self.timeout, self.private = timeout, private

    def get_session(self) -> Pvesh:
        return self

    def get_base_url(self) -> str:
        return ""

    def request(self, method: str, path: str, values: dict[str, Any]) -> Answer:
        words = [VERBS[method], path]
        for key, value in values.items():
            # An array is the same option several times.
            for item in value if isinstance(value, list) else [value]:
                words += [f"-{key}", str(item)]
        words += ["--output-format", "json"]
        private = not set(self.private).isdisjoint(values)
        # Perl warns of locales that the node does not have.
        done = subprocess.run(
            PRIVATELY if private else ["pvesh", *words],
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            input="\0".join(words) if private else "",
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=self.timeout,
            check=False,
        )
        if done.returncode:
            said = done.stderr or done.stdout
            status = re.search(r"^(\d{3}) [A-Za-z]", said, re.MULTILINE)
            return Answer(int(status.group(1)) if status else 500, said)
        return Answer(200, done.stdout)

    @staticmethod
    def data(text: str) -> Any:
        """The answer, which follows whatever the tasks have printed."""
        lines = text.strip().splitlines()
        for first in range(len(lines)):
            try:
                return json.loads("\n".join(lines[first:]))
            except ValueError:
                continue
        return None


class Client:
    """Requests to one PVE cluster. ``get`` is repeated when the connection breaks; a write never is."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params
        self.local = params["api_backend"] == "local"
        self.threads = threading.local()
        self.lock = threading.Lock()
        self.answered = False
        self.private: Collection[str] = ()  # parameters that pvesh must not be told on its command line
        self.backend: Any = None
        self.where = "pvesh on this machine" if self.local else f"{params['api_host']}:{params['api_port'] or 8006}"
        if not self.local:
            self._check_credentials()
            self.module = import_module("proxmoxer.backends.https")

    def _check_credentials(self) -> None:
        params = self.params
        for name, variable in (("api_host", "PROXMOX_HOST"), ("api_user", "PROXMOX_USER")):
            if not params[name]:
                raise PveError(f"{name} is missing: set it, or the environment variable {variable}.")
        if not params["api_password"] and not (params["api_token_id"] and params["api_token_secret"]):
            raise PveError("Credentials are missing: set api_token_id and api_token_secret, or api_password.")

    def _connect(self) -> Any:
        """The backend: a ticket is requested once and shared by every thread."""
        params = self.params
        with self.lock:
            if self.backend is None and self.local:
                self.backend = Pvesh(params.get("task_timeout") or params["api_timeout"], self.private)
            elif self.backend is None:
                secret = (
                    {"password": params["api_password"]}
                    if params["api_password"]
                    else {"token_name": params["api_token_id"], "token_value": params["api_token_secret"]}
                )
                self.backend = self.module.Backend(
                    params["api_host"],
                    user=params["api_user"],
                    port=params["api_port"],
                    timeout=(min(params["api_timeout"], CONNECT_SECONDS), params["api_timeout"]),
                    verify_ssl=(params["ca_path"] or True) if params["validate_certs"] else False,
                    **secret,
                )
        return self.backend

    def _session(self, instead_of: Any = None) -> Any:
        """This thread's session; with a new login in place of one whose ticket has expired."""
        if instead_of is not None:
            with self.lock:
                # Another thread may have logged in anew already.
                if self.backend is not None and self.backend.auth is instead_of.auth:
                    self.backend = None
            del self.threads.session
        if not hasattr(self.threads, "session"):
            self.threads.session = self._connect().get_session()
        return self.threads.session

    def get(self, path: str, /, **params: Any) -> Any:
        for attempt in range(1, READ_TRIES + 1):
            try:
                return self._request("GET", path, params)
            except Unreachable:
                if attempt == (READ_TRIES if self.answered else READ_TRIES // 2):
                    raise
                time.sleep(0.1 * 2**attempt if attempt > 1 else 0)

    def post(self, path: str, /, **data: Any) -> Any:
        return self._request("POST", path, data)

    def put(self, path: str, /, **data: Any) -> Any:
        return self._request("PUT", path, data)

    def delete(self, path: str, /, **params: Any) -> Any:
        return self._request("DELETE", path, params)

    def _request(self, method: str, path: str, values: dict[str, Any]) -> Any:
        values = {key: int(value) if isinstance(value, bool) else value for key, value in values.items()}
        place = {"values" if self.local else "params" if method in ("GET", "DELETE") else "data": values}
        try:
            session = self._session()
            response = session.request(method, self.backend.get_base_url() + path, **place)
            if response.status_code == 401 and self.answered and self.params["api_password"]:
                # The ticket has expired; what was refused for want of one has not been carried out.
                session = self._session(instead_of=session)
                response = session.request(method, self.backend.get_base_url() + path, **place)
        except Exception as error:
            raise self._transport_error(error) from error
        self.answered = True
        if response.status_code >= 400:
            raise self._refusal(method, path, response)
        if self.local:
            return Pvesh.data(response.text)
        try:
            answer = json.loads(response.content)
            data = answer.pop("data")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise PveError(
                f"{self.where} answered something that is not the Proxmox VE API: check api_host and api_port."
            ) from None
        self.threads.attributes = answer
        return data

    @property
    def attributes(self) -> dict[str, Any]:
        """What the last answer to this thread says besides its data; pvesh keeps that to itself."""
        return getattr(self.threads, "attributes", {})

    def _transport_error(self, error: Exception) -> PveError:
        """The sentence for a request that got no answer."""
        chain = list(causes(error))
        host = self.params["api_host"]

        def of(kind: type | tuple[type, ...]) -> BaseException | None:
            return next((item for item in chain if isinstance(item, kind)), None)

        if type(error).__name__ == "AuthenticationError":
            if "Two Factor" in str(error):
                return PveError(f"{self.where} asks '{self.params['api_user']}' for a second factor: use an API token.")
            if "code: 401" in str(error):
                return PveError(self._unauthorized(), "authentication failure", 401)
            return Unreachable(f"{self.where} takes no logins at the moment ({error}): run again later.")
        if self.local and type(error).__name__ == "TimeoutExpired":
            return Unreachable("pvesh did not end in time: check the node, or raise task_timeout.")
        if self.local:
            return PveError(
                f"pvesh cannot be run here ({error}): api_backend 'local' works as root on a Proxmox VE node only."
            )
        if of(ssl.SSLCertVerificationError):
            reason = getattr(of(ssl.SSLCertVerificationError), "verify_message", "") or "unknown authority"
            return PveError(
                f"The certificate of {self.where} is not trusted ({reason}): set ca_path to the cluster's CA "
                "(/etc/pve/pve-root-ca.pem on a node), or validate_certs to false where that risk is acceptable."
            )
        if of(socket.gaierror):
            return PveError(f"The name '{host}' cannot be resolved: check api_host (or PROXMOX_HOST) and DNS.")
        if "invalid path" in str(error):
            return PveError(f"ca_path '{self.params['ca_path']}' is not a readable file on the machine running this.")
        kind = Unreachable if self.answered else PveError
        if of(ConnectionRefusedError):
            return kind(f"{self.where} refuses connections: check api_host and api_port, and that pveproxy runs there.")
        names = {type(item).__name__ for item in chain}
        if names & {"ConnectTimeout", "ReadTimeout", "TimeoutError"}:
            return (kind if "ConnectTimeout" in names else Unreachable)(
                f"{self.where} does not answer: check that the host is up and reachable, or raise api_timeout "
                f"({self.params['api_timeout']} s)."
            )
        return Unreachable(f"The connection to {self.where} broke ({chain[-1]}): check the network and run again.")

    def _unauthorized(self) -> str:
        params = self.params
        if params["api_password"]:
            return f"{self.where} refuses the login of '{params['api_user']}': check api_user and api_password."
        return (
            f"{self.where} refuses the API token '{params['api_user']}!{params['api_token_id']}': check api_user, "
            "api_token_id and api_token_secret, and that the token has not expired."
        )

    def _refusal(self, method: str, path: str, response: Any) -> PveError:
        """The sentence for an answer that is an error."""
        status = response.status_code
        try:
            body = json.loads(response.content)
        except ValueError:
            body = {}
        body = body if isinstance(body, dict) else {}
        words = body.get("message") or getattr(response, "reason", "") or (response.text if self.local else "")
        text = " ".join(str(words).split())
        errors = body.get("errors") or {}
        details = "; ".join(f"{key}: {' '.join(str(value).split())}" for key, value in errors.items())
        text = f"{text.rstrip('.')}: {details}" if details else text or f"HTTP {status}"
        if status == 401:
            return PveError(self._unauthorized(), text, status)
        remedy = ""
        if ROOT_ONLY.search(text):
            remedy = ": PVE reserves this to root@pam itself, use api_backend 'local' as root on the node"
        elif status == 403:
            user = self.params["api_user"] or "root@pam"
            token = "" if self.params["api_password"] else " and its token"
            remedy = f": grant '{user}'{token} the missing privilege"
        elif status == 595:
            remedy = f": {self.where} does not reach the node behind this request, bring it back"
        elif status in NO_ANSWER:
            return Unreachable(
                f"{self.where} answers {status} {text}: check pveproxy there and run again.", text, status
            )
        return PveError(f"{text} ({method} {path}{remedy}).", text, status)
