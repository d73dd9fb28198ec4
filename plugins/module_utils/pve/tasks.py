# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for PVE's tasks: one poller for all of them, quick at first, calmer the longer a task runs."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from concurrent.futures import Future, TimeoutError
from typing import Any, Callable, Collection

from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import Client, PveError, Unreachable

QUICKEST, SLOWEST, PATIENCE = 0.1, 2.0, 0.2
LAST_LINES = 12
# What makes, changes, starts or removes a guest or a template: consoles and backups are not waited for.
WORK = (
    *("vzcreate", "vzclone", "vzrestore", "vzstart", "vzshutdown", "vzdestroy", "resize"),
    *("qmcreate", "qmclone", "qmrestore", "qmconfig", "qmstart", "qmshutdown", "qmdestroy", "download", "imgdel"),
    *("vzsnapshot", "vzdelsnapshot", "vzrollback", "vztemplate", "vzmigrate", "move_volume"),
    *("qmsnapshot", "qmdelsnapshot", "qmrollback", "qmtemplate", "qmigrate", "qmmove"),
)

# PVE's words for what another try on fresh data may overcome: somebody else is at work, or was.
LOCKED = re.compile(
    r"is locked|can't lock file|unable to acquire lock|can't acquire lock|got lock request timeout", re.IGNORECASE
)
MISSING = re.compile(r"onfiguration file '.*' does not exist")
STALE = re.compile(
    r"detected modified configuration|checksum mismatch|already running|not running|already exists on node"
    rf"|already at specified size|already a pool member|not a pool member|{MISSING.pattern}"
)
LOST_TRIES, STALE_TRIES, LOCK_PAUSE = 12, 5, 1.0


class TaskFailed(PveError):
    """A task ended with an error."""


class TaskTimeout(PveError):
    """A task did not end in time."""


class Watch:
    """A task that somebody waits for."""

    def __init__(self, upid: str) -> None:
        self.upid = upid
        self.node = upid.split(":")[1]
        self.started = time.monotonic()
        self.due = self.started
        self.ended: Future[dict[str, Any]] = Future()


class Tasks:
    """Any number of threads wait here; a single one asks PVE."""

    def __init__(self, client: Client, timeout: float, warn: Callable[[str], None]) -> None:
        self.client, self.timeout, self.warn = client, timeout, warn
        self.watches: list[Watch] = []
        self.changed = threading.Condition()
        self.poller: threading.Thread | None = None

    def wait(self, upid: Any, what: str) -> None:
        """Return when the task has ended well; an answer that is not a task has nothing to wait for."""
        if not isinstance(upid, str) or not upid.startswith("UPID:"):
            return
        watch = Watch(upid)
        with self.changed:
            self.watches.append(watch)
            if self.poller is None:
                self.poller = threading.Thread(target=self._poll, daemon=True)
                self.poller.start()
            self.changed.notify()
        try:
            status = watch.ended.result(self.timeout)
        except TimeoutError:
            raise TaskTimeout(
                f"{what}: the task {upid.split(':')[5]} still runs on node '{watch.node}' after {self.timeout:g} s "
                f"({upid}): let it end and run again, or raise task_timeout."
            ) from None
        finally:
            with self.changed:
                self.watches.remove(watch)
        self._judge(watch, str(status.get("exitstatus", "unknown")), what)

    def settle(self, node: str, what: str, **which: Any) -> None:
        """Wait for the tasks that are at work already: an answer that was lost may have started one.

        How they end does not matter, the caller looks.
        """
        for task in self.client.get(f"/nodes/{node}/tasks", source="active", **which) or []:
            if task.get("type") in WORK and not task.get("status") and not task.get("endtime"):
                with contextlib.suppress(TaskFailed):
                    self.wait(task["upid"], what)

    def once(
        self,
        write: Callable[[], Any],
        what: str,
        *,
        node: str,
        kind: str,
        vmid: int | None = None,
        ids: Collection[str] = (),
    ) -> Any:
        """Begin a task that must not run twice, wait for it, and say which it was.

        When the answer to the write is lost, or does not name the task, the one that it began, of this kind and for
        this guest, or about what has one of these ids, is looked for.
        """
        which = {} if vmid is None else {"vmid": vmid}

        def begun() -> set[str]:
            tasks = self.client.get(f"/nodes/{node}/tasks", source="all", limit=500, **which) or []
            return {task["upid"] for task in tasks if task.get("type") == kind and (not ids or task.get("id") in ids)}

        before = begun()
        for attempt in range(1, LOST_TRIES + 1):
            answered = True
            try:
                upid = write()
            except Unreachable:
                if attempt == LOST_TRIES:
                    raise
                time.sleep(min(0.1 * attempt, 2))
                upid, answered = None, False
            upid = upid or next(iter(begun() - before), None)
            if upid or answered:
                self.wait(upid, what)
                return upid
        return None

    def freed(self, path: str, lock: Any, *, patient: bool) -> Any:
        """The lock of the guest at the path, after whoever holds it had the time of a task to let go of it."""
        deadline = time.monotonic() + self.timeout
        while lock and patient and time.monotonic() < deadline:
            time.sleep(LOCK_PAUSE)
            lock = self.client.get(f"{path}/status/current").get("lock")
        return lock

    def _poll(self) -> None:
        while True:
            with self.changed:
                waiting = [watch for watch in self.watches if not watch.ended.done()]
                now = time.monotonic()
                pause = min((watch.due for watch in waiting), default=now + 3600) - now
                if pause > 0:
                    self.changed.wait(pause)
                    continue
            for watch in waiting:
                if watch.due <= now:
                    self._ask(watch)

    def _ask(self, watch: Watch) -> None:
        try:
            status = self.client.get(f"/nodes/{watch.node}/tasks/{watch.upid}/status")
        except Exception as error:
            watch.ended.set_exception(error)
            return
        now = time.monotonic()
        watch.due = now + min(max(PATIENCE * (now - watch.started), QUICKEST), SLOWEST)
        if status.get("status") == "stopped":
            watch.ended.set_result(status)

    def _judge(self, watch: Watch, result: str, what: str) -> None:
        if result == "OK":
            return
        log = self.client.get(f"/nodes/{watch.node}/tasks/{watch.upid}/log", limit=5000)
        lines = [str(entry.get("t", "")).strip() for entry in log or []]
        if result.startswith("WARNINGS"):
            told = [line for line in lines if "warn" in line.lower()] or lines[-LAST_LINES:]
            self.warn(f"{what}: the task ended with {result}: {' | '.join(told)}")
            return
        tail = " | ".join([line for line in lines if line][-LAST_LINES:])
        raise TaskFailed(f"{what}: the task failed: {result}. Its last lines: {tail}", result)
