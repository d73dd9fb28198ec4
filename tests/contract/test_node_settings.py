# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node has of its own: name servers, time zone, hosts file and options."""

from __future__ import annotations

import pytest
from ansible_collections.onprem.cloud.plugins.module_utils.pve.client import Client, Unreachable

from tests.contract.life import Life, both, limited, lives, nothing, whole_life

NODE = {"node": "pve1"}
DNS = Life(
    "pve_dns",
    NODE,
    {"search": "example.com", "dns1": "192.0.2.53", "dns2": "2001:db8::53"},
    {"search": "example.org", "dns1": "192.0.2.54", "dns2": "2001:db8::54", "dns3": "192.0.2.55"},
    spellings=[{"dns2": "2001:DB8:0::53"}, {"dns3": ""}, {"search": "Example.COM"}],
    removed=["search", "dns3"],
    once=True,
)
TIME = Life("pve_time", NODE, {"timezone": "Europe/Vienna"}, {"timezone": "America/Lima"}, once=True)
OPTIONS = Life(
    "pve_node_options",
    NODE,
    {
        "description": "Rack 2\nunit 7",
        "wakeonlan": "bc:24:11:00:00:01",
        "location": {"latitude": 48.2, "longitude": 16, "name": "Vienna"},
    },
    {
        "description": "Rack 3",
        "wakeonlan": {"mac": "BC:24:11:00:00:01", "bind-interface": "vmbr0", "broadcast-address": "192.0.2.255"},
        "startall_onboot_delay": 60,
        "ballooning_target": 70,
        "location": "latitude=48.2,longitude=16.5",
    },
    spellings=[
        {"description": "Rack 2\nunit 7\n"},
        {"wakeonlan": {"mac": "BC:24:11:00:00:01", "broadcast-address": "255.255.255.255"}},
        {"startall_onboot_delay": 0, "ballooning_target": 80},
        {"location": "name=Vienna,longitude=16.0,latitude=48.20"},
    ],
    removed=["description", "wakeonlan", "location"],
    once=True,
)
HOSTS = Life(
    "pve_hosts",
    NODE,
    {"entries": [{"address": "192.0.2.3", "names": ["pve2.example.com", "pve2", "two"]}]},
    {"entries": [{"address": "192.0.2.3", "names": ["pve2", "pve2.example.com", "two"]}]},
    spellings=[
        {"entries": [{"address": "192.0.2.3", "names": ["PVE2.example.com", "two", "pve2", "two"]}]},
        {"entries": [{"address": "192.0.2.4", "state": "absent"}]},
        {"entries": []},
    ],
    once=True,
)
ALL = (DNS, TIME, OPTIONS, HOSTS)


@lives(*ALL)
def test_whole_life(run, life):
    whole_life(run, life)


@lives(*ALL)
def test_whole_life_with_no_more_privileges_than_are_documented(run, life):
    needed = {
        "pve_node_options": {"Sys_Audit": "/", "Sys_Modify": "/"},
        "pve_hosts": {"Sys_Audit": "/", "Sys_Modify": "/nodes/pve1"},
    }
    everyone = {"Sys_Audit": "/nodes/pve1", "Sys_Modify": "/nodes/pve1"}
    whole_life(run, limited(run, life, **needed.get(life.module, everyone)))


@lives(*ALL)
def test_another_node_is_left_alone(run, api, life):
    api.pve.nodes["pve2"] = {"online": True}
    before = dict(api.pve.settings("pve2"))
    run(life.module, {**NODE, **life.created})
    assert api.pve.settings("pve2") == before


@lives(*ALL)
def test_a_write_whose_answer_is_lost_happens_once(run, monkeypatch, life):
    real, times = Client._request, []

    def losing(self, method, path, values):
        answer = real(self, method, path, values)
        if method != "GET" and not times:
            times.append(path)
            raise Unreachable("The connection broke.")
        return answer

    monkeypatch.setattr(Client, "_request", losing)
    assert run(life.module, {**NODE, **life.created})["changed"]
    assert len(times) == 1
    nothing(run, life, life.created)


@lives(*ALL)
def test_a_node_that_is_offline_is_named(run, api, life):
    api.pve.add_node("pve2", online=False)
    for check in (True, False):
        message = run.fails(life.module, {**life.created, "node": "pve2"}, check=check)
        assert "/nodes/pve2/" in message
        assert "does not reach the node behind this request, bring it back" in message


@lives(*ALL)
def test_what_is_in_etc_pve_needs_quorum_and_nothing_else_does(run, api, life):
    api.pve.lose_quorum()
    if life is OPTIONS:
        assert "no quorum" in run.fails(life.module, {**NODE, **life.created})
        api.pve.regain_quorum()
    assert both(run, life, life.created)["changed"]


# ---------------------------------------------------------------------------------------- name servers


def test_what_is_not_given_of_the_name_servers_stays(run, api):
    """Proxmox VE removes what an update does not repeat."""
    run("pve_dns", {**NODE, **DNS.created})
    run("pve_dns", {**NODE, "dns3": "192.0.2.55"})
    assert api.pve.settings("pve1")["dns"] == {**DNS.created, "dns3": "192.0.2.55"}
    run("pve_dns", {**NODE, "search": ""})
    assert api.pve.settings("pve1")["dns"] == {
        "dns1": "192.0.2.53", "dns2": "2001:db8::53", "dns3": "192.0.2.55"
    }  # fmt: skip


def test_all_name_servers_can_go(run, api):
    run("pve_dns", {**NODE, **DNS.created})
    assert both(run, DNS, {"dns1": "", "dns2": ""})["diff"]["after"] == {}
    assert api.pve.settings("pve1")["dns"] == {"search": "example.com"}


def test_name_servers_that_another_administrator_changed_come_back(run, api):
    run("pve_dns", {**NODE, **DNS.created})
    api.pve.settings("pve1")["dns"] = {"search": "example.org", "dns1": "192.0.2.53"}
    result = both(run, DNS, DNS.created)
    assert result["diff"] == {
        "before": {"search": "example.org"},
        "after": {"search": "example.com", "dns2": "2001:db8::53"},
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dns1": "dns.example.com"}, "dns1: 'dns.example.com' is not an IP address"),
        ({"dns1": "fe80::1%vmbr0"}, "dns1: 'fe80::1%vmbr0' is not an IP address"),
        ({"search": "example.com example.org"}, "search: 'example.com example.org' is not a domain"),
        ({"dns1": ""}, "dns2 is '2001:db8::53' and there is no dns1, give the name servers without a gap"),
        ({"dns2": "", "dns3": "192.0.2.55"}, "dns3 is '192.0.2.55' and there is no dns2"),
        ({"dns3": "192.0.2.53"}, "dns3 is '192.0.2.53', which dns1 is as well"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_bad_name_servers_are_refused_before_the_first_write(run, api, options, words, check):
    run("pve_dns", {**NODE, **DNS.created})
    api.requests()
    assert f"dns of node 'pve1': {words}" in run.fails("pve_dns", {**NODE, **options}, check=check)
    assert api.writes() == []


# ------------------------------------------------------------------------------------------------ time


def test_both_names_of_utc_are_one(run, api):
    nothing(run, TIME, {"timezone": "UTC"})
    nothing(run, TIME, {"timezone": "Etc/UTC"})
    assert run("pve_time", NODE)["time"]["timezone"] == "Etc/UTC"


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("Europe/Wien", "there is no time zone 'Europe/Wien', did you mean 'Europe/Vienna'?"),
        ("qqqqqqqq", "there is no time zone 'qqqqqqqq', write for example Europe/Vienna"),
        ("../../etc/passwd", "'../../etc/passwd' is not a time zone such as Europe/Vienna"),
        ("", "timezone is empty, give it a value or leave it out"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_a_time_zone_that_is_none_is_refused_before_the_first_write(run, api, zone, words, check):
    message = run.fails("pve_time", {**NODE, "timezone": zone}, check=check)
    assert "time of node 'pve1': " in message
    assert words in message
    assert api.writes() == []


def test_a_machine_without_time_zones_leaves_it_to_the_node(run, monkeypatch):
    monkeypatch.setattr("zoneinfo.available_timezones", set)
    message = run.fails("pve_time", {**NODE, "timezone": "Europe/Wien"})
    assert "timezone: No such timezone" in message


# ------------------------------------------------------------------------------------- options of a node


def test_options_of_others_stay(run):
    run("pve_node_options", {**NODE, "startall_onboot_delay": 5})
    result = run("pve_node_options", {**NODE, "description": "mine"})
    assert result["options"]["startall-onboot-delay"] == "5"


def test_where_a_node_stands_is_an_option_of_9(run, api):
    api.pve.version = "8.4.14"
    assert "location: property is not defined in schema" in run.fails("pve_node_options", {**NODE, **OPTIONS.created})
    known = {key: value for key, value in OPTIONS.created.items() if key != "location"}
    nothing(run, OPTIONS, {"description": "", "location": ""})
    assert both(run, OPTIONS, {**known, "ballooning_target": 70})["changed"]


def test_what_certificates_are_for_is_not_shown(run, monkeypatch):
    real = Client.put
    monkeypatch.setattr(Client, "put", lambda self, path, /, **data: real(self, path, acme="account=default", **data))
    options = run("pve_node_options", {**NODE, "description": "mine"})["options"]
    assert set(options) == {"description", "digest"}


def test_options_that_another_administrator_changes_meanwhile_are_not_overwritten(run, api, monkeypatch):
    run("pve_node_options", {**NODE, "description": "mine"})
    real, times = Client.put, []

    def late(self, path, /, **data):
        if not times:
            times.append(path)
            real(self, path, **{"ballooning-target": 70})
        return real(self, path, **data)

    monkeypatch.setattr(Client, "put", late)
    api.requests()
    options = run("pve_node_options", {**NODE, "startall_onboot_delay": 9})["options"]
    assert [request.method for request in api.writes()] == ["PUT", "PUT", "PUT"]
    assert (options["ballooning-target"], options["startall-onboot-delay"]) == ("70", "9")
    assert options["description"].rstrip() == "mine"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"wakeonlan": "01:00:00:00:00:01"}, "wakeonlan: mac: '01:00:00:00:00:01' is not a unicast MAC address"),
        ({"wakeonlan": {"bind-interface": "vmbr0"}}, "wakeonlan: 'mac' is missing"),
        ({"wakeonlan": {"macs": "x"}}, "wakeonlan: unknown key 'macs', did you mean 'mac'?"),
        (
            {"wakeonlan": {"mac": "bc:24:11:00:00:01", "broadcast-address": "ff02::1"}},
            "wakeonlan: broadcast-address: 'ff02::1' is not an IPv4 address",
        ),
        ({"startall_onboot_delay": 301}, "startall_onboot_delay: 301 is out of range"),
        ({"ballooning_target": -1}, "ballooning_target: -1 is out of range"),
        ({"location": {"latitude": 91, "longitude": 0}}, "location: latitude: 91 is out of range"),
        ({"location": {"latitude": 9}}, "location: 'longitude' is missing"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_bad_options_are_refused_before_the_first_write(run, api, options, words, check):
    message = run.fails("pve_node_options", {**NODE, **options}, check=check)
    assert f"options of node 'pve1': {words}" in message
    assert api.writes() == []


# ------------------------------------------------------------------------------------------- hosts file

FILE = (
    "# The loopback   interface\n"
    "127.0.0.1\tlocalhost.localdomain  localhost\n"
    "\n"
    "192.0.2.11 pve1.example.com pve1\n"
    "192.0.2.9   old\n"
    "  # 192.0.2.3 commented\n"
    "2001:DB8::9 nine\n"
    "192.0.2.9 older"
)


def entry(address, *names, **more):
    return {"address": address, **({"names": list(names)} if names else {}), **more}


@pytest.fixture
def hosts(api):
    api.pve.settings("pve1")["hosts"] = FILE
    return lambda: api.pve.settings("pve1")["hosts"]


@pytest.mark.parametrize(
    ("entries", "changed"),
    [
        ([entry("192.0.2.3", "two")], FILE + "\n192.0.2.3 two\n"),
        (
            [entry("192.0.2.9", "new")],
            FILE.replace("192.0.2.9   old\n", "192.0.2.9 new\n").replace("192.0.2.9 older", ""),
        ),
        ([entry("192.0.2.9", "old", "older")], FILE),
        (
            [entry("192.0.2.9", state="absent")],
            FILE.replace("192.0.2.9   old\n", "").replace("192.0.2.9 older", ""),
        ),
        ([entry("2001:db8:0:0::9", state="absent")], FILE.replace("2001:DB8::9 nine\n", "")),
        ([entry("2001:db8::9", "nine"), entry("127.0.0.1", "localhost.localdomain", "localhost")], FILE),
    ],
)
def test_other_lines_stay_byte_for_byte(run, hosts, entries, changed):
    """Also those that mean the same in another spelling."""
    both(run, HOSTS, {"entries": entries})
    assert hosts() == changed
    nothing(run, HOSTS, {"entries": entries})


def test_the_diff_says_what_becomes_of_an_address(run, hosts):
    result = both(run, HOSTS, {"entries": [entry("192.0.2.9", "new"), entry("192.0.2.3", state="absent")]})
    assert result["diff"] == {"before": {"entries": ["192.0.2.9 old older"]}, "after": {"entries": ["192.0.2.9 new"]}}
    assert result["hosts"]["data"] == hosts()


def test_an_entry_that_another_administrator_adds_meanwhile_is_not_lost(run, api, hosts, monkeypatch):
    real, times = Client.post, []

    def late(self, path, /, **data):
        if not times:
            times.append(path)
            api.pve.settings("pve1")["hosts"] = "192.0.2.77 other\n" + FILE
        return real(self, path, **data)

    monkeypatch.setattr(Client, "post", late)
    api.requests()
    run("pve_hosts", {**NODE, "entries": [entry("192.0.2.3", "two")]})
    assert [request.method for request in api.writes()] == ["POST", "POST"]
    assert hosts() == "192.0.2.77 other\n" + FILE + "\n192.0.2.3 two\n"


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([entry("host", "a")], "entries: 'host' is not an IP address"),
        ([entry("fe80::1%vmbr0", "a")], "entries: 'fe80::1%vmbr0' is not an IP address"),
        ([entry("192.0.2.3", "under_score")], "entries: 192.0.2.3: 'under_score' is not a name"),
        ([entry("192.0.2.3")], "entries: 192.0.2.3 has no names, give it some or set state to absent"),
        ([entry("192.0.2.3", "a", state="absent")], "entries: 192.0.2.3 is to be absent and has names"),
        ([entry("2001:db8::3", "a"), entry("2001:DB8::3", "b")], "entries: 2001:db8::3 is given twice"),
        ([entry("192.0.2.11", state="absent")], "no entry would have the node's own name 'pve1'"),
        ([entry("192.0.2.11", "pve2")], "no entry would have the node's own name 'pve1'"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_bad_entries_are_refused_before_the_first_write(run, api, hosts, entries, words, check):
    message = run.fails("pve_hosts", {**NODE, "entries": entries}, check=check)
    assert f"hosts of node 'pve1': {words}" in message
    assert api.writes() == []


def test_the_own_name_may_move(run, hosts):
    entries = [entry("192.0.2.11", state="absent"), entry("192.0.2.12", "pve1.example.com")]
    assert both(run, HOSTS, {"entries": entries})["changed"]


@pytest.mark.parametrize(
    "line", ["192.0.2.8 eight # noted", "192.0.2.8 under_score", "fe80::1%lo localhost", "  192.0.2.8 eight", "eight"]
)
def test_a_line_that_proxmox_ve_does_not_write_is_named(run, api, line):
    api.pve.settings("pve1")["hosts"] = f"127.0.0.1 localhost\n{line}\n"
    nothing(run, HOSTS, {"entries": [entry("127.0.0.1", "localhost")]})
    for check in (True, False):
        message = run.fails("pve_hosts", {**NODE, "entries": [entry("192.0.2.3", "two")]}, check=check)
        assert f"line 2 of the file is '{line.strip()}', with which Proxmox VE does not write it" in message
    assert api.writes() == []


def test_a_comment_behind_the_names_goes_with_its_entry(run, api):
    api.pve.settings("pve1")["hosts"] = "192.0.2.8 eight # noted\n"
    run("pve_hosts", {**NODE, "entries": [entry("192.0.2.8", "eight", "huit")]})
    assert api.pve.settings("pve1")["hosts"] == "192.0.2.8 eight huit\n"
