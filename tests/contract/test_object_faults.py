# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults while objects of the API are made, changed and removed: the next run converges, and nothing is overwritten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.contract.life import Life, Values, lives, nothing
from tests.contract.running import Run

OBJECTS = (
    Life("pve_pool", {"poolid": "web"}, {"comment": "a"}, {"comment": "b"}),
    Life("pve_group", {"groupid": "it"}, {"comment": "a"}, {"comment": "b"}),
    Life(
        "pve_storage",
        {"storage": "backups"},
        {"type": "dir", "path": "/srv/backups", "content": ["backup"]},
        {"content": ["backup", "iso"]},
    ),
    Life("pve_backup_job", {"id": "daily"}, {"schedule": "02:00", "all": True, "storage": "local"}, {"mode": "stop"}),
    Life("pve_firewall_alias", {"name": "office"}, {"cidr": "192.0.2.0/24"}, {"comment": "b"}),
    Life("pve_notification_matcher", {"name": "all"}, {"target": ["mail-to-root"]}, {"comment": "b"}),
    Life(
        "pve_metric_server",
        {"id": "graphite"},
        {"type": "graphite", "server": "192.0.2.9", "port": 2003},
        {"mtu": 1400},
    ),
    Life("pve_sdn_zone", {"zone": "lan"}, {"type": "simple"}, {"mtu": 1400}),
)


def steps(run: Run, life: Life, **login: Any) -> list[tuple[Callable[[], Values], Values]]:
    """What creates, changes and deletes it, each to be run as often as one likes, and the options of each."""
    every = [life.created, {**life.created, **life.changes}, {"state": "absent"}]
    return [(partial(run.any, life.module, {**life.ident, **login, **options}), options) for options in every]


@pytest.mark.parametrize("seed", range(2))
@lives(*OBJECTS)
def test_one_request_in_five_is_dropped(api, run, life, seed):
    api.pve._random.seed(seed)
    for act, options in steps(run, life):
        api.pve.flaky_network(drop_rate=0.2)
        for _ in range(4):
            result = act()
            if not result.get("failed"):
                break
            assert "connection" in result["msg"].lower(), result["msg"]
        api.pve.flaky_network()
        assert not act().get("failed")
        nothing(run, life, options)


@lives(*OBJECTS)
def test_answers_of_writes_that_are_lost(api, run, life):
    """The write happens and its answer never arrives."""
    answer, lost = api.pve._answer, []

    async def losing(request, *args):
        response = await answer(request, *args)
        if request.method != "GET" and not lost:
            lost.append(request.path)
            request.transport.abort()
        return response

    api.pve._answer = losing
    for act, options in steps(run, life):
        lost.clear()
        result = act()
        assert not result.get("failed"), result
        assert result["changed"]
        assert len(lost) == 1
        nothing(run, life, options)


def test_api_that_stops_answering_in_the_middle(api, run):
    """Writes hang for longer than the patience of the module; the message says what to turn."""
    answer = api.pve._answer
    life = OBJECTS[0]

    async def hanging(request, *args):
        if request.method != "GET":
            await asyncio.sleep(30)
        return await answer(request, *args)

    api.pve._answer = hanging
    result = steps(run, life, api_timeout=1)[0][0]()
    assert "does not answer" in result["msg"]
    assert "raise api_timeout (1 s)" in result["msg"]
    api.pve._answer = answer
    assert steps(run, life)[0][0]()["changed"]
    nothing(run, life, life.created)


@lives(*OBJECTS)
def test_ticket_that_expires_in_the_middle(api, run, life):
    """A login with a password: another ticket is fetched, and what was refused for want of one is asked again."""
    answer, asked = api.pve._answer, []
    login = {"api_user": "root@pam", "api_password": api.pve.password, "api_token_id": None, "api_token_secret": None}

    async def expiring(request, *args):
        answered = await answer(request, *args)
        asked.append(request.path)
        if request.method == "GET" and "/access/ticket" not in request.path:
            api.pve.revoke_tickets()
        return answered

    api.pve._answer = expiring
    for act, options in steps(run, life, **login):
        asked.clear()
        result = act()
        assert not result.get("failed"), result
        assert result["changed"]
        assert len([path for path in asked if path.endswith("/access/ticket")]) > 1
        nothing(run, life, options)


@lives(*OBJECTS)
def test_no_quorum_in_the_words_of_the_api(api, run, life):
    for act, options in steps(run, life):
        api.pve.lose_quorum()
        assert "no quorum" in act()["msg"]
        api.pve.regain_quorum()
        assert act()["changed"]
        nothing(run, life, options)


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("pve_dns", {"node": "pve1", "search": "example.com"}),
        ("pve_time", {"node": "pve1", "timezone": "Europe/Paris"}),
        ("pve_hosts", {"node": "pve1", "entries": [{"address": "192.0.2.7", "names": ["printer"]}]}),
        ("pve_backup", {"vmid": 100, "storage": "local"}),
        ("pve_snapshot", {"vmid": 100, "snapname": "before"}),
        ("pve_firewall_options", {"node": "pve1", "nosmurfs": True}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_node_that_is_offline(api, run, container, module, options):
    run.fleet(container())
    api.pve.set_node_offline("pve1")
    message = run.fails(module, options)
    assert "No route to host" in message
    assert "does not reach the node behind this request, bring it back" in message
