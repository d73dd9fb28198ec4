# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clusters: a node makes one, another joins it, whatever its API goes through meanwhile."""

from __future__ import annotations

import hashlib
import importlib
import ssl
import time
from pathlib import Path

import pytest
from fakepve import PveError
from fakepve.certs import make_cert

from tests.contract import pvesh
from tests.contract.life import Life, limited
from tests.contract.running import Run

MODULE = "pve_cluster"
OURS = {"state": "created", "clustername": "example"}
PASSWORD = "the peer's own password"


def fingerprint(path: str) -> str:
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(Path(path).read_text())).hexdigest()
    return ":".join(digest[at : at + 2] for at in range(0, 64, 2))


class RootRun(Run):
    """Runs modules as root@pam itself."""

    def any(self, module, args, *, check=False):
        login = {"api_token_id": None, "api_token_secret": None, "api_password": self.api.pve.password}
        return super().any(module, {"task_timeout": 20, **login, **args}, check=check)


@pytest.fixture
def as_root(api):
    """The first node, asked with the password of root@pam."""
    return RootRun(api)


@pytest.fixture
def joiner(start_api, as_root, tmp_path):
    """A second node, which reaches the first and has a new certificate waiting for it."""
    api = start_api()
    api.pve.nodes = {"pve2": {"online": True}}
    api.pve.reachable[as_root.api.pve.host] = as_root.api.pve
    api.pve.next_certificate = make_cert(str(tmp_path), name="joined", hosts=(api.pve.host,))[:2]
    as_root.api.pve.password = PASSWORD
    return RootRun(api)


@pytest.fixture
def peer(as_root):
    """The options that name the first node as the peer."""
    as_root(MODULE, OURS)
    return {
        "api_host": as_root.api.pve.host,
        "api_port": as_root.api.pve.port,
        "api_password": PASSWORD,
        "ca_path": as_root.api.ca_path,
    }


def joined(peer, **options):
    return {"state": "joined", "clustername": "example", "peer": peer, **options}


# ------------------------------------------------------------------------------------------------------ create


def test_a_cluster_is_created_once(as_root):
    wanted = {**OURS, "links": {"link0": "192.0.2.11", "link1": {"address": "198.51.100.11", "priority": 20}}}
    wanted.update(nodeid=3, votes=2, token_coefficient=200)
    as_root.api.requests()
    predicted = as_root(MODULE, wanted, check=True)
    assert as_root.api.changes() == []
    made = as_root(MODULE, wanted)
    assert made["changed"]
    assert made["diff"] == predicted["diff"]
    assert made["cluster"]["name"] == "example"
    assert made["cluster"]["quorate"]
    assert [node["name"] for node in made["cluster"]["nodes"]] == ["pve1"]
    as_root.api.requests()
    for spelling in (wanted, OURS, {**wanted, "links": {"link0": "192.0.2.11", "link1": "198.51.100.11,priority=20"}}):
        assert not as_root(MODULE, spelling)["changed"]
        requests = [request for request in as_root.api.requests() if "ticket" not in request.path]
        assert {request.method for request in requests} == {"GET"}
        assert len(requests) <= 3


def test_trap_a_cluster_that_exists_is_found_again(as_root):
    """The peer fails, or reports a change, in every run after the first."""
    assert as_root(MODULE, OURS)["changed"]
    assert not as_root(MODULE, OURS)["changed"]
    # Reading needs no more than a token.
    assert not Run(as_root.api)(MODULE, OURS)["changed"]


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"clustername": "other"}, ["node 'pve1'", "'example'", "'other'", "pvecm delnode"]),
        ({"votes": 2}, ["node 'pve1'", "votes is 1", "to 2", "/etc/pve/corosync.conf"]),
        ({"nodeid": 7}, ["nodeid is 1", "to 7"]),
        ({"token_coefficient": 650}, ["token_coefficient is 125", "650"]),
        ({"links": {"link0": "192.0.2.99"}}, ["links is", "192.0.2.99"]),
    ],
)
def test_what_a_cluster_is_cannot_be_changed(as_root, options, words, check):
    as_root(MODULE, OURS)
    as_root.api.requests()
    message = as_root.fails(MODULE, {**OURS, **options}, check=check)
    assert [word for word in words if word not in message] == []
    assert as_root.api.changes() == []


def test_a_cluster_that_was_made_before_there_was_a_coefficient(as_root):
    """Corosync's own is larger than the one that Proxmox VE 9 writes to a new cluster."""
    as_root.api.pve.version = "8.4.14"
    message = as_root.fails(MODULE, {**OURS, "token_coefficient": 650})
    assert "token-coefficient: property is not defined in schema" in message
    assert as_root.api.pve.corosync is None
    assert as_root(MODULE, OURS)["changed"]
    assert not as_root(MODULE, {**OURS, "token_coefficient": 650})["changed"]
    assert "token_coefficient is 650" in as_root.fails(MODULE, {**OURS, "token_coefficient": 125})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"votes": 0}, ["votes is 0", "first node", "1 or more"]),
        ({"clustername": "name of a cluster"}, ["clustername", "15 characters"]),
        ({"clustername": "sixteencharacter"}, ["clustername", "15 characters"]),
        ({"links": {"link8": "192.0.2.1"}}, ["links", "'link8'", "link0 to link7"]),
        ({"links": {"link0": {"priority": 3}}}, ["links", "link0", "'address' is missing"]),
        ({"links": {"link0": "192.0.2.1,priority=256"}}, ["link0", "priority", "256"]),
        ({"nodeid": 0}, ["nodeid", "at least 1"]),
    ],
)
def test_a_cluster_that_cannot_be_is_refused_before_the_first_write(as_root, options, words):
    message = as_root.fails(MODULE, {**OURS, **options})
    assert [word for word in words if word not in message] == []
    assert as_root.api.pve.corosync is None


@pytest.mark.parametrize("check", [True, False])
def test_a_token_is_told_who_may_create_a_cluster(run, check):
    message = run.fails(MODULE, OURS, check=check)
    for word in ("root@pam", "token 'root@pam!test'", "api_backend 'local'", "become"):
        assert word in message
    assert run.api.writes() == []


def test_what_the_api_says_to_a_token(run):
    """So it is Proxmox VE that refuses, and not this collection alone."""
    client = importlib.import_module("ansible_collections.onprem.cloud.plugins.module_utils.pve.client")
    options = {"api_backend": "https", "api_timeout": 60, "api_password": None, "validate_certs": True}
    with pytest.raises(client.PveError, match="user != root@pam"):
        client.Client({**options, **run.api.connection}).post("/cluster/config", clustername="example")


def test_root_on_the_node_creates_a_cluster_with_pvesh(run, tmp_path, monkeypatch):
    pvesh.stand_in(run.api, tmp_path, monkeypatch)
    assert run(MODULE, {**OURS, "api_backend": "local"})["changed"]
    assert not run(MODULE, {**OURS, "api_backend": "local"})["changed"]
    assert run.api.pve.corosync["name"] == "example"


def test_no_quorum_is_said_with_what_to_do(as_root, joiner, peer):
    joiner(MODULE, joined(peer))
    as_root.api.pve.lose_quorum()
    as_root.api.pve.corosync["down"].add("pve2")
    message = as_root.fails(MODULE, OURS)
    for word in ("node 'pve1'", "'example'", "no quorum", "1 of 2 nodes online", "pvecm status", "half-way"):
        assert word in message


# -------------------------------------------------------------------------------------------------------- join


def test_a_node_joins_although_its_certificate_changes_and_its_logins_end(as_root, joiner, peer):
    before = joiner.api.pve.fingerprint
    as_root.api.requests()
    predicted = joiner(MODULE, joined(peer, votes=2), check=True)
    writes = [request for api in (as_root.api, joiner.api) for request in api.writes()]
    assert {request.path for request in writes} == {"/access/ticket"}
    result = joiner(MODULE, joined(peer, votes=2))
    assert result["changed"]
    assert result["diff"] == predicted["diff"] == {"before": {}, "after": {"clustername": "example", "votes": 2}}
    assert result["cluster"]["quorate"]
    assert [node["name"] for node in result["cluster"]["nodes"]] == ["pve1", "pve2"]
    assert joiner.api.pve.fingerprint != before
    sent = next(request for request in joiner.api.requests() if request.path == "/cluster/config/join")
    assert sorted(sent.params) == ["fingerprint", "hostname", "password", "votes"]
    assert PASSWORD not in as_root.output + joiner.output


def test_a_member_is_left_as_it_is(as_root, joiner, peer):
    joiner(MODULE, joined(peer))
    ca_path = {"ca_path": joiner.api.pve.next_certificate[0]}
    for api in (as_root.api, joiner.api):
        api.requests()
    assert not joiner(MODULE, joined(peer, **ca_path))["changed"]
    assert as_root.api.requests() == []
    assert [request.path for request in joiner.api.requests()] == ["/access/ticket", "/cluster/status"]
    # Without a name it is the peer that knows which cluster is meant.
    assert not joiner(MODULE, joined(peer, clustername=None, **ca_path))["changed"]
    # A token that can read is enough to find that nothing is to be done.
    assert not Run(joiner.api)(MODULE, joined(peer, **ca_path))["changed"]


def test_a_peer_is_known_by_its_fingerprint(as_root, joiner, peer):
    known = {**peer, "ca_path": None, "fingerprint": fingerprint(as_root.api.ca_path)}
    assert joiner(MODULE, joined(known))["changed"]


@pytest.mark.parametrize("check", [True, False])
def test_a_wrong_fingerprint_is_refused_and_the_password_stays_here(as_root, joiner, peer, check):
    as_root.api.requests()
    message = joiner.fails(MODULE, joined({**peer, "fingerprint": "ab:" * 31 + "cd"}), check=check)
    for word in (as_root.api.pve.host, "another one than expected", "pvenode cert info"):
        assert word in message
    assert as_root.api.requests() == []
    assert "/cluster/config/join" not in [request.path for request in joiner.api.writes()]


def test_a_certificate_of_nobody_is_not_trusted(as_root, joiner, peer):
    message = joiner.fails(MODULE, joined({**peer, "ca_path": None}))
    assert "is not trusted" in message
    assert as_root.api.pve.corosync["nodes"].keys() == {"pve1"}


def test_a_new_certificate_that_the_cluster_does_not_vouch_for_is_not_trusted(as_root, joiner, peer):
    """Somebody else answers in place of the node after it joined."""
    start = joiner.api.pve.start

    async def served_by_another(*certificate):
        await start(*certificate)
        joiner.api.pve.fingerprint = fingerprint(as_root.api.ca_path)

    joiner.api.pve.start = served_by_another
    message = joiner.fails(MODULE, joined(peer, task_timeout=1))
    for word in ("half-way", "another one than expected"):
        assert word in message


def test_a_new_certificate_of_the_authority_that_is_trusted_already(as_root, joiner, peer, tmp_path):
    """Even while the peer cannot tell which one it is."""
    both = tmp_path / "both.pem"
    both.write_text(Path(joiner.api.ca_path).read_text() + Path(joiner.api.pve.next_certificate[0]).read_text())

    answer = as_root.api.pve.answer

    async def silent(request, *args):
        if request.path.endswith("/cluster/config/join") and joiner.api.pve.corosync is not None:
            raise PveError(500, "unable to read the certificate")
        return await answer(request, *args)

    as_root.api.pve.answer = silent
    assert joiner(MODULE, joined(peer, ca_path=str(both)))["changed"]


def test_a_node_with_guests_does_not_join(joiner, peer):
    joiner.api.pve.add_ct(101, name="db", node="pve2")
    joiner.api.pve.add_ct(100, name="web", node="pve2")
    for check in (True, False):
        message = joiner.fails(MODULE, joined(peer), check=check)
        for word in ("node 'pve2'", "100 (web), 101 (db)", "back them up"):
            assert word in message
    assert {request.path for request in joiner.api.writes()} == {"/access/ticket"}


def test_a_node_of_another_cluster_does_not_join(joiner, peer):
    joiner(MODULE, {**OURS, "clustername": "another"})
    joiner.api.requests()
    for options in ({}, {"clustername": None}):
        message = joiner.fails(MODULE, joined(peer, **options))
        for word in ("node 'pve2'", "'another'", "'example'", "installed anew"):
            assert word in message
    assert {request.path for request in joiner.api.writes()} == {"/access/ticket"}


def test_a_node_that_joined_half_way_says_so(as_root, joiner, peer):
    as_root.api.pve.corosync["nodes"]["pve2"] = {"name": "pve2", "nodeid": "2", "ring0_addr": "x", "pve_fp": "y"}
    message = joiner.fails(MODULE, joined(peer))
    for word in ("node 'pve2'", "half-way", "pvecm delnode pve2", "on pve1"):
        assert word in message


def test_a_node_whose_services_did_not_come_back_says_so(joiner, peer):
    joiner.api.pve.next_certificate = None
    started = time.monotonic()
    message = joiner.fails(MODULE, joined(peer, task_timeout=1, api_timeout=1))
    assert time.monotonic() - started < 30
    for word in ("node 'pve2'", "half-way", "task_timeout", "refuses connections"):
        assert word in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nodeid": 1}, ["nodeid 1", "node 'pve1'"]),
        ({"clustername": "other"}, ["'example'", "'other'", "another peer"]),
        ({"links": {"link0": "192.0.2.12", "link1": "198.51.100.12"}}, ["link0, link1", "has link0"]),
        ({"links": {"link0": "192.0.2.12,priority=5"}}, ["priorities", "created"]),
        ({"token_coefficient": 125}, ["token_coefficient", "'created'"]),
    ],
)
def test_a_place_that_the_cluster_does_not_have_is_refused(joiner, peer, options, words):
    message = joiner.fails(MODULE, joined(peer, **options))
    assert [word for word in words if word not in message] == []
    assert {request.path for request in joiner.api.writes()} == {"/access/ticket"}


def test_an_address_of_another_node_is_refused(as_root, joiner, peer):
    message = joiner.fails(MODULE, joined(peer, links={"link0": as_root.api.pve.host}))
    for word in ("link0", as_root.api.pve.host, "node 'pve1'"):
        assert word in message


def test_a_cluster_of_two_networks_needs_an_address_in_each(as_root, joiner):
    as_root(MODULE, {**OURS, "links": {"link0": "192.0.2.11", "link1": "198.51.100.11"}})
    pve = as_root.api.pve
    peer = {"api_host": pve.host, "api_port": pve.port, "api_password": PASSWORD, "ca_path": as_root.api.ca_path}
    message = joiner.fails(MODULE, joined(peer))
    assert "links is missing, the cluster has link0, link1" in message
    links = {"link1": "198.51.100.12", "link0": "192.0.2.12"}
    assert joiner(MODULE, joined(peer, links=links))["changed"]
    assert pve.corosync["nodes"]["pve2"]["ring1_addr"] == "198.51.100.12"


def test_a_peer_without_quorum_takes_nobody(as_root, joiner, peer):
    as_root.api.pve.lose_quorum()
    message = joiner.fails(MODULE, joined(peer))
    for word in ("node 'pve2'", "not ready - no quorum", "pvecm status"):
        assert word in message
    assert {request.path for request in joiner.api.writes()} == {"/access/ticket"}


def test_a_peer_that_refuses_is_quoted(as_root, joiner, peer):
    """Its quorum is lost between the question and the request."""
    admit = as_root.api.pve.admit

    def late(*args):
        as_root.api.pve.lose_quorum()
        admit(*args)

    as_root.api.pve.admit = late
    message = joiner.fails(MODULE, joined(peer))
    for word in ("node 'pve2'", "Cluster join aborted!", "cluster not ready - no quorum?", "pvecm status"):
        assert word in message
    assert joiner.api.pve.corosync is None


def test_a_wrong_password_of_the_peer_is_found_before_the_first_write(joiner, peer):
    message = joiner.fails(MODULE, joined({**peer, "api_password": "not the password"}))
    assert "the peer does not tell of its cluster" in message
    assert "refuses the login of 'root@pam'" in message
    assert "/cluster/config/join" not in [request.path for request in joiner.api.writes()]
    assert "not the password" not in joiner.output


def test_a_peer_that_is_down_is_named(as_root, joiner, peer):
    as_root.api.call(as_root.api.pve.stop())
    message = joiner.fails(MODULE, joined(peer))
    for word in ("node 'pve2'", "the peer does not tell", as_root.api.pve.host, "refuses connections"):
        assert word in message


@pytest.mark.parametrize("module_options", [OURS, joined({"api_host": "192.0.2.1", "api_password": "x"})])
def test_reading_is_enough_to_find_that_nothing_is_to_be_done(as_root, module_options):
    as_root(MODULE, OURS)
    member = limited(Run(as_root.api), Life(MODULE, module_options, {}, {}), Sys_Audit="/")
    assert not Run(as_root.api)(MODULE, member.ident)["changed"]
    stranger = limited(Run(as_root.api), Life(MODULE, module_options, {}, {}), Datastore_Audit="/")
    assert "Sys.Audit" in Run(as_root.api).fails(MODULE, stranger.ident)


def test_a_second_factor_of_the_peer_is_said(as_root, joiner, peer):
    as_root.api.pve.tfa = True
    known = {**peer, "ca_path": None, "fingerprint": fingerprint(as_root.api.ca_path)}
    message = joiner.fails(MODULE, joined(known))
    for word in ("second factor", "pvecm add"):
        assert word in message


def test_a_fingerprint_that_is_none_is_refused(joiner, peer):
    message = joiner.fails(MODULE, joined({**peer, "fingerprint": "AB:CD"}))
    for word in ("peer.fingerprint", "'AB:CD'", "32 bytes"):
        assert word in message


def test_in_check_mode_the_cluster_may_be_made_in_the_same_run(as_root, joiner):
    pve = as_root.api.pve
    peer = {"api_host": pve.host, "api_port": pve.port, "api_password": PASSWORD, "ca_path": as_root.api.ca_path}
    result = joiner(MODULE, joined(peer), check=True)
    assert result["changed"]
    assert "is in no cluster" in str(result["warnings"])
    message = joiner.fails(MODULE, joined(peer))
    for word in ("node is not in a cluster", "create one there"):
        assert word in message


@pytest.mark.parametrize("check", [True, False])
def test_a_token_is_told_who_may_join(joiner, peer, check):
    message = Run(joiner.api).fails(MODULE, joined(peer), check=check)
    for word in ("root@pam", "token 'root@pam!test'", "api_password", "api_backend 'local'"):
        assert word in message


def test_the_password_of_the_peer_is_not_put_on_a_command_line(joiner, peer, tmp_path, monkeypatch):
    calls = pvesh.stand_in(joiner.api, tmp_path, monkeypatch)
    message = joiner.fails(MODULE, joined(peer, api_backend="local"))
    for word in ("command line", "api_backend 'https'"):
        assert word in message
    assert PASSWORD not in calls.read_text()


def test_a_connection_that_breaks_as_the_join_begins(joiner, peer):
    """Whether anything came of the request is asked, and not assumed."""
    answer = joiner.api.pve.answer
    lost = []

    async def cut(request, *args):
        result = await answer(request, *args)
        if (request.method, request.path) == ("POST", "/api2/json/cluster/config/join"):
            lost.append(result)
            request.transport.close()
        return result

    joiner.api.pve.answer = cut
    assert joiner(MODULE, joined(peer))["changed"]
    assert len(lost) == 1


def test_a_join_that_never_reached_the_node_is_not_taken_for_one(joiner, peer):
    answer = joiner.api.pve.answer

    async def cut(request, *args):
        if (request.method, request.path) == ("POST", "/api2/json/cluster/config/join"):
            request.transport.close()
            raise PveError(500, "nobody hears this")
        return await answer(request, *args)

    joiner.api.pve.answer = cut
    message = joiner.fails(MODULE, joined(peer))
    for word in ("node 'pve2'", "connection", "broke", "Nothing came of the request"):
        assert word in message
