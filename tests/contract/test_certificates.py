# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node presents to those who connect."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from ansible_collections.onprem.cloud.plugins.modules.pve_certificate import Leaf
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from fakepve import PveError

from tests.contract import pvesh
from tests.contract.life import Life, both, limited, nothing
from tests.lab.node import Authority, described

MODULE = "pve_certificate"
RECORDED = Path(__file__).parents[1] / "unit/recordings/node.jsonl"
NODE = {"node": "pve1"}
COMPANY = Authority("Example CA")
CHAIN, KEY = COMPANY.issue("pve1.example.com", "192.0.2.2")
OTHER_CHAIN, OTHER_KEY = COMPANY.issue("pve1.example.com", "pve1")
GIVEN, OTHER = {"certificates": CHAIN, "key": KEY}, {"certificates": OTHER_CHAIN, "key": OTHER_KEY}
ACME = {**NODE, "source": "acme"}
LIFE = Life(
    MODULE,
    NODE,
    GIVEN,
    {},
    spellings=[
        {"certificates": f"Subject: pve1\n{CHAIN.strip()}"},
        # Nothing shows the certificates of authorities again.
        {"certificates": CHAIN.split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----"},
        {"certificates": CHAIN.replace("\n", "\r\n")},
        {"source": "custom", "server_names": ["pve1.example.com"], "restart": False},
    ],
)


def installed(run):
    return run.api.pve.certificates.get("pve1")


def print_of(chain):
    return described(chain, "")["fingerprint"]


def test_fingerprints_are_those_that_pve_tells(run):
    recorded = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    (answer,) = [entry["response"]["data"] for entry in recorded if entry["path"].endswith("/certificates/info")]
    assert {item["filename"] for item in answer} == {"pve-root-ca.pem", "pve-ssl.pem"}
    for item in answer:
        assert Leaf().parse(item["pem"]) == item["fingerprint"]
        assert set(described(item["pem"], item["filename"])) == set(item)


@pytest.fixture
def domains(run):
    """The node knows for which names it orders, and as whom."""
    config = run.api.pve.node_configs.setdefault("pve1", {})
    config.update(acme="account=office,domains=PVE1.example.com", acmedomain2="api.example.com,plugin=standalone")
    run.api.pve.acme_accounts["office"] = {}
    return ["api.example.com", "pve1.example.com"]


def test_whole_life(run):
    # It has no part that is there without it.
    nothing(run, LIFE, {}, state="absent")
    assert both(run, LIFE, GIVEN)["action"] == "create"
    assert installed(run) == (CHAIN, KEY)
    for spelling in ({}, *LIFE.spellings):
        nothing(run, LIFE, {**GIVEN, **spelling})
    result = both(run, LIFE, OTHER)
    assert result["diff"] == {
        "before": {"certificates": print_of(CHAIN)},
        "after": {"certificates": print_of(OTHER_CHAIN)},
    }
    assert installed(run) == (OTHER_CHAIN, OTHER_KEY)
    nothing(run, LIFE, OTHER)
    assert both(run, LIFE, {}, state="absent")["action"] == "delete"
    nothing(run, LIFE, {}, state="absent")


def test_the_clusters_own_certificate(run):
    own = Life(MODULE, NODE, {"source": "self-signed"}, {})
    nothing(run, own, own.created)
    run(MODULE, {**NODE, **GIVEN})
    assert both(run, own, own.created)["action"] == "delete"
    assert installed(run) is None
    nothing(run, own, own.created)


def test_the_documented_privileges_are_enough_and_necessary(run, domains):
    life = limited(run, LIFE, Sys_Modify="/nodes/pve1", Sys_Audit="/")
    assert both(run, life, GIVEN)["changed"]
    assert both(run, life, {"source": "acme"})["changed"]
    assert both(run, life, {"source": "acme"}, state="absent")["changed"]
    without = limited(run, LIFE, Sys_Audit="/")
    assert "Sys.Modify" in run.fails(MODULE, {**without.ident, **GIVEN})


def test_pveproxy_is_restarted_unless_told_otherwise(run):
    run(MODULE, {**NODE, **GIVEN, "restart": False})
    assert run.api.pve.restarts == []
    run(MODULE, {**NODE, **OTHER})
    run(MODULE, {**NODE, "state": "absent"})
    assert run.api.pve.restarts == ["pve1", "pve1"]


def test_the_local_backend_takes_no_key_and_does_the_rest(run, domains, tmp_path, monkeypatch):
    calls = pvesh.stand_in(run.api, tmp_path, monkeypatch)
    local = {**NODE, "api_backend": "local", "api_host": None}
    assert "key would be on the command line of pvesh" in run.fails(MODULE, {**local, **GIVEN})
    assert run(MODULE, {**local, "source": "acme"})["changed"]
    assert not run(MODULE, {**local, "source": "acme"})["changed"]
    assert run(MODULE, {**local, "state": "absent"})["changed"]
    assert "PRIVATE KEY" not in calls.read_text()


def test_what_another_hand_installed_is_replaced(run):
    run.api.pve.certificates["pve1"] = (OTHER_CHAIN, OTHER_KEY)
    assert run(MODULE, {**NODE, **GIVEN})["action"] == "update"
    assert installed(run) == (CHAIN, KEY)


def test_the_key_is_shown_nowhere_and_left_nowhere(run, tmp_path):
    around = {**NODE, "_ansible_tmpdir": str(tmp_path)}
    results = [run(MODULE, {**around, **GIVEN}), run(MODULE, {**around, **OTHER})]
    run.fails(MODULE, {**around, "certificates": CHAIN, "key": OTHER_KEY})
    # Nor where it does not belong.
    run.fails(MODULE, {**around, "certificates": CHAIN + OTHER_KEY, "key": KEY})
    run.fails(MODULE, {**around, "certificates": CHAIN + OTHER_KEY.replace("\n", "\r\n"), "key": KEY})
    for text in (run.output, json.dumps(results)):
        assert KEY.splitlines()[1] not in text
        assert OTHER_KEY.splitlines()[1] not in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(public_exponent=65537, key_size=2048), ed25519.Ed25519PrivateKey.generate()],
    ids=["rsa", "ed25519"],
)
def test_keys_of_every_kind(run, key):
    chain, secret = COMPANY.issue("pve1", key=key)
    assert run(MODULE, {**NODE, "certificates": chain, "key": secret})["changed"]


LATE, LATE_KEY = COMPANY.issue("pve1", since=-100)
EARLY, EARLY_KEY = COMPANY.issue("pve1", since=1)
WILD, WILD_KEY = COMPANY.issue("*.example.com")
STRANGE, STRANGE_KEY = COMPANY.issue("www.example.org", "198.51.100.7", "2001:db8::7")
BARE, BARE_KEY = COMPANY.issue()
LOCKED = serialization.load_pem_private_key(KEY.encode(), None).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"words")
)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"certificates": CHAIN}, ["key is missing"]),
        ({"key": KEY}, ["certificates is missing"]),
        ({"source": "acme", **GIVEN}, ["certificates does not belong to source 'acme'"]),
        ({"source": "acme", "server_names": ["pve1"]}, ["server_names does not belong to source 'acme'"]),
        ({"source": "self-signed", "server_names": []}, ["server_names does not belong to source 'self-signed'"]),
        ({"source": "self-signed", "state": "absent"}, ["'self-signed'", "state present"]),
        ({"certificates": "words", "key": KEY}, ["certificates", "no certificate in PEM format"]),
        ({"certificates": CHAIN.replace("M", "\x00M", 1), "key": KEY}, ["certificates", "damaged"]),
        ({"certificates": CHAIN + KEY, "key": KEY}, ["certificates", "private key", "belongs into key"]),
        ({"certificates": CHAIN, "key": OTHER_KEY}, ["key", "does not belong to the first"]),
        ({"certificates": COMPANY.pem + CHAIN, "key": KEY}, ["does not belong to the first", "before those of its"]),
        ({"certificates": CHAIN, "key": "words"}, ["cannot be loaded", "copy them anew"]),
        ({"certificates": CHAIN.replace("M", "N", 1), "key": KEY}, ["cannot be loaded", "copy them anew"]),
        ({"certificates": CHAIN, "key": LOCKED.decode()}, ["key has a passphrase"]),
        ({"certificates": LATE, "key": LATE_KEY}, ["has expired"]),
        ({"certificates": EARLY, "key": EARLY_KEY}, ["is not yet valid"]),
        ({"certificates": STRANGE, "key": STRANGE_KEY}, ["not for 'pve1'", "www.example.org, 198.51.100.7"]),
        ({"certificates": BARE, "key": BARE_KEY}, ["not for 'pve1'", "no name at all"]),
        ({**GIVEN, "server_names": ["pve1"]}, ["not for 'pve1'", "pve1.example.com"]),
        ({"certificates": WILD, "key": WILD_KEY, "server_names": ["a.b.example.com"]}, ["not for 'a.b.example.com'"]),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(run, given, words):
    message = run.fails(MODULE, {**NODE, **given})
    assert [word for word in (*words, "node 'pve1'") if word not in message] == []
    assert message.endswith(".")
    assert run.fails(MODULE, {**NODE, **given}, check=True) == message
    assert run.api.writes() == []


@pytest.mark.parametrize(
    ("chain", "key", "names"),
    [
        (STRANGE, STRANGE_KEY, []),
        (STRANGE, STRANGE_KEY, ["WWW.example.org.", "198.51.100.7", "2001:DB8:0::7"]),
        (WILD, WILD_KEY, None),
        (WILD, WILD_KEY, ["pve1.example.com"]),
    ],
    # Made anew by every process, and no name that tests are known by.
    ids=["own names", "names", "own wildcard", "name of the wildcard"],
)
def test_what_a_certificate_is_for_can_be_said(run, chain, key, names):
    assert run(MODULE, {**NODE, "certificates": chain, "key": key, "server_names": names})["changed"]


# ------------------------------------------------------------------------------------------ by ACME


def test_whole_life_of_an_ordered_certificate(run, domains):
    life = Life(MODULE, ACME, {}, {})
    result = both(run, life, {})
    assert result["action"] == "create"
    assert sorted(result["certificate"]["san"]) == domains
    nothing(run, life, {})
    # The node is to have another name.
    run.api.pve.node_configs.setdefault("pve1", {})["acmedomain0"] = "domain=pve.example.com"
    assert both(run, life, {})["action"] == "update"
    assert "pve.example.com" in run(MODULE, ACME)["certificate"]["san"]
    old = installed(run)[0]
    assert both(run, life, {}, state="absent")["action"] == "delete"
    assert run.api.pve.revoked == [old]
    nothing(run, life, {}, state="absent")


def test_an_ordered_certificate_is_renewed_in_time(run, domains):
    run(MODULE, ACME)
    old = installed(run)[0]
    run.api.pve.certificates["pve1"] = COMPANY.issue(*domains, since=-61, days=90)
    ending = installed(run)[0]
    life = Life(MODULE, ACME, {}, {})
    result = both(run, life, {})
    assert result["diff"]["before"] == {"certificates": print_of(ending)}
    assert result["diff"]["after"] == {"certificates": f"(ordered by ACME for {', '.join(domains)})"}
    assert run.api.pve.revoked == [ending]
    assert old != installed(run)[0]
    nothing(run, life, {})


def test_certificates_that_are_made_for_a_short_time_are_not_renewed_every_time(run, domains):
    run.api.pve.acme_days = 6
    run(MODULE, ACME)
    nothing(run, Life(MODULE, ACME, {}, {}), {})


def test_a_custom_certificate_is_replaced_by_an_ordered_one(run, domains):
    run(MODULE, {**NODE, **GIVEN})
    assert run(MODULE, ACME)["action"] == "update"
    assert sorted(run(MODULE, ACME)["certificate"]["san"]) == domains


def test_nothing_is_ordered_for_no_name_or_as_nobody(run):
    message = run.fails(MODULE, ACME)
    assert "node 'pve1': the node has no ACME domains" in message
    assert "pve_acme_domains" in message
    run.api.pve.node_configs.setdefault("pve1", {})["acmedomain0"] = "pve1.example.com"
    message = run.fails(MODULE, ACME)
    assert "there is no ACME account 'default'" in message
    # In check mode, a task before it may be about to make them.
    assert "ACME account 'default'" in str(run(MODULE, ACME, check=True)["warnings"])
    assert run.api.writes() == []


@pytest.mark.parametrize("check", [True, False])
def test_nothing_is_revoked_as_nobody(run, check):
    run.api.pve.certificates["pve1"] = (CHAIN, KEY)
    gone = {**ACME, "state": "absent"}
    remedy = "or leave source out to remove the certificate without telling anybody"
    message = run.fails(MODULE, gone, check=check)
    assert "node 'pve1': the node has no ACME domains" in message
    assert remedy in message
    run.api.pve.node_configs.setdefault("pve1", {})["acmedomain0"] = "pve1.example.com"
    message = run.fails(MODULE, gone, check=check)
    assert "there is no ACME account 'default'" in message
    assert remedy in message
    assert run.api.writes() == []
    assert run(MODULE, {**NODE, "state": "absent"}, check=check)["changed"]


def test_what_the_authority_says_is_in_the_failure(run, domains):
    run.api.pve.plan_task("acmenewcert", error="validating challenge failed - status: invalid", log=["Order URL: x"])
    message = run.fails(MODULE, ACME)
    assert "node 'pve1'" in message
    assert "validating challenge failed - status: invalid" in message


def test_no_names_are_not_what_an_installed_certificate_without_names_is_for(run):
    run.api.pve.certificates["pve1"] = (BARE, BARE_KEY)
    assert "the node has no ACME domains" in run.fails(MODULE, ACME)


def test_a_certificate_that_has_expired_since_is_warned_of(run):
    run.api.pve.certificates["pve1"] = (LATE, LATE_KEY)
    result = run(MODULE, {**NODE, "certificates": LATE, "key": LATE_KEY})
    assert not result["changed"]
    assert "node 'pve1': it has expired, install another one" in str(result["warnings"])


def test_a_task_of_an_earlier_run_is_waited_for(run, domains):
    pve = run.api.pve
    pve.time_scale = 0.05
    assert "still runs on node 'pve1'" in run.fails(MODULE, {**ACME, "task_timeout": 0})
    assert run(MODULE, ACME)["changed"]
    assert [task["type"] for task in pve.tasklog] == ["acmenewcert"]


def test_an_order_whose_answer_is_lost_is_not_placed_twice(run, domains):
    pve, placed = run.api.pve, run.api.pve.task
    pve.time_scale = 0.01

    async def lost(node, kind, *args, **kwargs):
        await placed(node, kind, *args, **kwargs)
        pve.task = placed
        raise PveError(596, "Connection timed out")

    pve.task = lost
    pve.acme_secs = 20
    assert run(MODULE, ACME)["action"] == "create"
    assert [task["type"] for task in pve.tasklog] == ["acmenewcert"]


# ------------------------------------------------------------------------- the connection it runs over


@pytest.fixture
def presented(run):
    """The API is served with the certificate of the node; returns one for its address, and its file of authorities."""
    pve = run.api.pve
    pve.presents = "pve1"
    chain, key = COMPANY.issue("pve1", pve.host)
    return {**NODE, "certificates": chain, "key": key}


def trusted(run, tmp_path, *texts):
    """A file of authorities: the one of the API before, and others."""
    file = tmp_path / "authorities.pem"
    file.write_text("\n".join([Path(run.api.ca_path).read_text(), *texts]))
    return {"ca_path": str(file)}


def test_the_connection_goes_on_over_the_new_certificate(run, presented, tmp_path):
    authorities = trusted(run, tmp_path, COMPANY.pem)
    result = run(MODULE, {**presented, **authorities})
    assert result["changed"]
    assert "warnings" not in result
    assert result["certificate"]["fingerprint"] == print_of(presented["certificates"])
    assert not run(MODULE, {**presented, **authorities})["changed"]


def test_a_new_certificate_that_the_connection_does_not_trust_is_known_by_its_fingerprint(run, presented):
    result = run(MODULE, presented)
    assert result["changed"]
    assert "does not trust it: set ca_path" in str(result["warnings"])
    assert result["diff"]["after"] == {"certificates": print_of(presented["certificates"])}
    assert result["certificate"]["subject"] == "/CN=pve1"


def test_taking_it_away_is_known_by_the_fingerprint_of_the_clusters_own(run, presented, tmp_path):
    authorities = trusted(run, tmp_path, COMPANY.pem)
    run(MODULE, {**presented, **authorities})
    result = run(MODULE, {**NODE, **authorities, "state": "absent"})
    assert result["action"] == "delete"
    assert "does not trust it" in str(result["warnings"])
    assert (result["diff"]["after"], result["certificate"]) == ({}, {})


def test_connections_that_die_with_the_restart_before_the_answer(run, presented, tmp_path):
    run.api.pve.cut_answers = 1
    authorities = trusted(run, tmp_path, COMPANY.pem)
    started = time.monotonic()
    assert run(MODULE, {**presented, **authorities})["changed"]
    assert time.monotonic() - started < 10
    assert len(run.api.pve.restarts) == 1


def test_an_ordered_certificate_that_the_connection_does_not_trust_says_so(run, presented, domains):
    message = run.fails(MODULE, ACME)
    assert "node 'pve1': it has changed, and what is presented now is not trusted: set ca_path" in message
    assert "Traceback" not in message
