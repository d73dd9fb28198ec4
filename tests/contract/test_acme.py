# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts at ACME authorities, how names are proven, and for which names nodes order certificates."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import requests
from fakepve import PveError

from tests.contract import pvesh
from tests.contract.life import Life, both, limited, lives, nothing, whole_life
from tests.lab.node import DIRECTORY, PLUGINS, TERMS

ACCOUNT, PLUGIN, DOMAINS = "pve_acme_account", "pve_acme_plugin", "pve_acme_domains"
RECORDED = Path(__file__).parents[1] / "unit/recordings/node.jsonl"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
CUSTOMERS = "https://acme.example.com/directory"
TOKEN = "correct-horse-battery-staple"
OTHER_TOKEN = "another-horse-and-its-staple"
LINES = f"CF_Token={TOKEN}\nCF_Zone_ID=0123=456"
CLOUDFLARE = {"type": "dns", "api": "cf", "data": {"CF_Token": TOKEN, "CF_Zone_ID": "0123=456"}}
NODE = {"node": "pve1"}
NAMES = ["pve1.example.com", {"domain": "pve.example.com", "plugin": "cloudflare", "alias": "_acme.example.org"}]


def encoded(text):
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def login(run, monkeypatch):
    """As whom accounts can be managed; logging in is no request that the tests are about."""
    api, requests = run.api, run.api.requests
    monkeypatch.setattr(api, "requests", lambda: [item for item in requests() if item.path != "/access/ticket"])
    api.pve.password = "what root types"
    return {"api_password": api.pve.password}


def config(run):
    return run.api.pve.node_configs.setdefault("pve1", {})


# ------------------------------------------------------------------------------------------ accounts


def test_whole_life_of_an_account(run, login):
    life = Life(
        ACCOUNT,
        {"name": "office", **login},
        {"contact": ["admin@example.com", "it@example.com"], "directory": STAGING},
        {"contact": ["admin@example.com"]},
        spellings=[
            {"contact": "it@example.com, admin@example.com"},
            {"contact": ["mailto:it@example.com", "mailto:admin@example.com"]},
            {"terms_agreed": True},
        ],
    )
    whole_life(run, life)


def test_the_account_that_nodes_use_is_at_lets_encrypt(run, login):
    result = run(ACCOUNT, {**login, "contact": "admin@example.com", "terms_agreed": True})
    assert result["diff"]["after"] == {"contact": ["admin@example.com"], "directory": DIRECTORY}
    assert {key: run.api.pve.acme_registrations[0].get(key) for key in ("name", "directory", "tos_url")} == {
        "name": "default",
        "directory": DIRECTORY,
        "tos_url": TERMS,
    }
    assert result["acme_account"]["status"] == "valid"
    assert not run(ACCOUNT, {**login, "directory": DIRECTORY})["changed"]


def test_an_authority_that_does_not_tell_whom_it_writes_to(run, login):
    run.api.pve.acme_silent.add(DIRECTORY)
    given = {**login, "contact": "admin@example.com", "terms_agreed": True}
    life = Life(ACCOUNT, given, {}, {})
    result = both(run, life, {})
    assert result["changed"]
    assert result["acme_account"]["contact"] is None
    nothing(run, life, {})
    nothing(run, life, {"contact": "other@example.com"})


def test_terms_are_not_agreed_to_on_behalf_of_anybody(run, login):
    message = run.fails(ACCOUNT, {**login, "contact": "admin@example.com"})
    assert "'default'" in message
    assert TERMS in message
    assert "terms_agreed" in message
    assert run.api.pve.acme_accounts == {}


def test_an_authority_that_wants_to_know_its_customers(run, login):
    run.api.pve.acme_meta[CUSTOMERS] = {"externalAccountRequired": 1}
    given = {**login, "contact": "admin@example.com", "directory": CUSTOMERS}
    assert "give the eab_kid and the eab_hmac_key" in run.fails(ACCOUNT, given)
    assert "eab_hmac_key is missing" in run.fails(ACCOUNT, {**given, "eab_kid": "us"})
    result = run(ACCOUNT, {**given, "eab_kid": "us", "eab_hmac_key": TOKEN})
    assert run.api.pve.acme_registrations[0]["eab-hmac-key"] == TOKEN
    assert TOKEN not in json.dumps(result) + run.output
    assert not run(ACCOUNT, {**given, "eab_kid": "us", "eab_hmac_key": TOKEN})["changed"]


@pytest.mark.parametrize("name", ["default", "new"])
def test_no_api_token_can_manage_accounts(run, name):
    run.api.pve.acme_accounts["default"] = {}
    limits = limited(run, Life(ACCOUNT, {"name": name}, {}, {}), Sys_Modify="/", Sys_Audit="/").ident
    message = run.fails(ACCOUNT, {**limits, "contact": "admin@example.com", "terms_agreed": True})
    assert f"'{name}'" in message
    assert "root@pam alone" in message
    assert "api_backend 'local'" in message
    assert run.api.writes() == []


def test_the_local_backend_manages_accounts(run, tmp_path, monkeypatch):
    calls = pvesh.stand_in(run.api, tmp_path, monkeypatch)
    given = {"api_backend": "local", "api_host": None, "contact": "admin@example.com", "terms_agreed": True}
    assert run(ACCOUNT, given)["changed"]
    assert not run(ACCOUNT, given)["changed"]
    assert "create /cluster/acme/account" in calls.read_text()


def test_an_account_whose_registration_was_not_answered_is_registered_once(run, login):
    pve, begin = run.api.pve, run.api.pve.task
    pve.time_scale, pve.acme_secs = 0.01, 60

    async def lost(*args, **kwargs):
        await begin(*args, **kwargs)
        pve.task = begin
        raise PveError(596, "Connection timed out")

    for more in ({}, {"state": "absent"}):
        pve.task = lost
        assert run(ACCOUNT, {**login, "contact": "admin@example.com", "terms_agreed": True, **more})["changed"]
    assert [task["type"] for task in pve.tasklog] == ["acmeregister", "acmedeactivate"]


def test_what_the_authority_says_is_in_the_failure(run, login):
    run.api.pve.plan_task("acmeregister", error="Registration failed: invalid contact domain")
    message = run.fails(ACCOUNT, {**login, "contact": "admin@example.com", "terms_agreed": True})
    assert "'default'" in message
    assert "invalid contact domain" in message


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "new"}, ["'new'", "contact is missing"]),
        ({"name": "office", "contact": []}, ["contact is empty"]),
        ({"name": "2nd", "contact": "a@b.c", "terms_agreed": True}, ["'2nd'", "that begins with a letter"]),
        ({"name": "office", "contact": ["admin"]}, ["contact", "'admin' is not a mail address"]),
        (
            {"name": "office", "directory": STAGING},
            ["directory is", "cannot be changed", STAGING, "leave directory out, or register another account"],
        ),
        ({"name": "new", "contact": "a@b.c", "directory": "acme"}, ["'acme'", "begins with https://"]),
    ],
)
def test_bad_accounts_are_refused_before_anything_is_written(run, login, given, words):
    run(ACCOUNT, {**login, "name": "office", "contact": "admin@example.com", "terms_agreed": True})
    run.api.requests()
    message = run.fails(ACCOUNT, {**login, **given})
    assert [word for word in words if word not in message] == []
    assert run.api.writes() == []


# ------------------------------------------------------------------------------------------- plugins

PLUGIN_LIVES = (
    Life(
        PLUGIN,
        {"id": "cloudflare"},
        CLOUDFLARE,
        {
            "api": "hetzner",
            "data": {"HETZNER_Token": OTHER_TOKEN},
            "validation_delay": 60,
            "nodes": ["pve2", "pve1"],
            "disable": True,
        },
        spellings=[
            {"data": LINES},
            {"data": f"# ours\n\nCF_Zone_ID=0123=456\r\n CF_Token={TOKEN}\n"},
            {"data": encoded(LINES)},
            {"data": encoded(LINES)[:20] + "\n" + encoded(LINES)[20:]},
            {"validation_delay": 30, "nodes": [], "disable": False},
        ],
        removed=["data", "nodes"],
    ),
    Life(PLUGIN, {"id": "web"}, {"type": "standalone"}, {"disable": True, "nodes": ["pve1"]}, removed=["nodes"]),
)


@lives(*PLUGIN_LIVES)
def test_whole_life_of_a_plugin(run, life):
    whole_life(run, life)


@lives(*PLUGIN_LIVES)
def test_the_documented_privilege_on_plugins_is_enough_and_necessary(run, life):
    whole_life(run, limited(run, life, Sys_Modify="/"))
    fewer = limited(run, life, Sys_Audit="/")
    assert "Sys.Modify" in run.fails(PLUGIN, {**fewer.ident, **life.created})


def test_the_plugin_that_is_always_there(run):
    standalone = {"id": "standalone", "state": "absent"}
    assert not run(PLUGIN, standalone)["changed"]
    assert run(PLUGIN, {"id": "standalone", "disable": True})["action"] == "update"
    predicted = run(PLUGIN, standalone, check=True)
    assert predicted["changed"]
    assert run(PLUGIN, standalone)["diff"] == predicted["diff"]
    assert not run(PLUGIN, standalone)["changed"]


def test_credentials_are_compared_and_not_shown(run):
    run(PLUGIN, {"id": "cloudflare", **CLOUDFLARE})
    stored = run.api.pve.area(PLUGINS)["cloudflare"]
    assert base64.b64decode(stored["data"]).decode() == LINES
    stored["data"] = encoded(f"CF_Token={OTHER_TOKEN}")
    result = run(PLUGIN, {"id": "cloudflare", **CLOUDFLARE})
    assert result["diff"] == {"before": {"data": "(hidden)"}, "after": {"data": "(hidden)"}}
    removed = run(PLUGIN, {"id": "cloudflare", "state": "absent"})
    for secret in (TOKEN, OTHER_TOKEN, encoded(LINES)):
        assert secret not in run.output
        assert secret not in json.dumps([result, removed])


def test_what_somebody_else_writes_meanwhile_is_not_overwritten(run, monkeypatch):
    run(PLUGIN, {"id": "cloudflare", **CLOUDFLARE})
    pve = run.api.pve
    plugin, digest = pve.area(PLUGINS)["cloudflare"], pve.digest

    def meddling(collection):
        """Somebody writes right after the file has been read for the first time."""
        now = digest(collection)
        plugin["nodes"] = "pve1"
        return now

    monkeypatch.setattr(pve, "digest", meddling)
    run.api.requests()
    assert run(PLUGIN, {"id": "cloudflare", "validation_delay": 60})["changed"]
    assert [write.method for write in run.api.writes()] == ["PUT", "PUT"]
    assert pve.area(PLUGINS)["cloudflare"]["nodes"] == "pve1"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"id": "new"}, ["'new'", "type is missing"]),
        ({"id": "new", "type": "dns"}, ["api is missing", "type 'dns'"]),
        ({"id": "new", "type": "dns", "api": "hetznr"}, ["no interface 'hetznr'", "did you mean 'hetzner'?"]),
        ({"id": "cloudflare", "api": ""}, ["api is empty"]),
        ({"id": "cloudflare", "type": "standalone"}, ["type is 'dns'", "cannot be changed to 'standalone'"]),
        ({"id": "cloudflare", "data": "a secret"}, ["data", "lines of the form NAME=value"]),
        ({"id": "cloudflare", "data": {"A B": "a secret"}}, ["data", "lines of the form NAME=value"]),
        ({"id": "cloudflare", "validation_delay": -1}, ["validation_delay", "-1", "at least 0"]),
        ({"id": "standalone", "api": "cf"}, ["api does not belong to type 'standalone'", "choose type dns"]),
    ],
)
def test_bad_plugins_are_refused_before_anything_is_written(run, given, words):
    run(PLUGIN, {"id": "cloudflare", **CLOUDFLARE})
    run.api.requests()
    message = run.fails(PLUGIN, given)
    assert [word for word in words if word not in message] == []
    assert "a secret" not in message
    assert run.api.writes() == []


@pytest.mark.parametrize("area", ["/cluster/acme", "/nodes/pve1/config"])
def test_the_recorded_requests_get_the_recorded_answers(run, login, area):
    session = requests.Session()
    session.trust_env, session.verify = False, run.api.ca_path
    base = f"{run.api.pve.url}/api2/json"
    given = session.post(f"{base}/access/ticket", {"username": "root@pam", "password": login["api_password"]}).json()
    session.cookies["PVEAuthCookie"] = given["data"]["ticket"]
    session.headers["CSRFPreventionToken"] = given["data"]["CSRFPreventionToken"]
    entries = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    entries = [entry for entry in entries if entry["path"].startswith(area)]
    assert len(entries) > 2
    for entry in entries:
        place = "params" if entry["method"] == "GET" else "data"
        answer = session.request(entry["method"], base + entry["path"], **{place: entry.get("params")})
        said, real = answer.json(), entry["response"]
        for whole in (said, real):
            if isinstance(whole.get("data"), dict):
                whole["data"].pop("digest", None)
        assert (answer.status_code, said.get("data")) == (entry["status"], real.get("data"))
        assert (said.get("message"), said.get("errors")) == (real.get("message"), real.get("errors"))


# ----------------------------------------------------------------------------------- names of a node


@pytest.fixture
def prepared(run):
    """What names need."""
    run(PLUGIN, {"id": "cloudflare", **CLOUDFLARE})
    run.api.pve.acme_accounts.update(default={}, office={})
    config(run).update(description="Rack 2\n")
    run.api.requests()


DOMAIN_LIFE = Life(
    DOMAINS,
    NODE,
    {"account": "office", "domains": NAMES},
    {"account": "default", "domains": ["pve1.example.com", "www.example.com"]},
    spellings=[
        {"domains": list(reversed(NAMES))},
        {"domains": ["PVE1.example.com", "alias=_acme.example.org,domain=pve.example.com,plugin=cloudflare"]},
        {"domains": [{"domain": "pve1.example.com", "plugin": "standalone"}, NAMES[1]]},
    ],
    removed=["account", "domains"],
    once=True,
)


def test_whole_life_of_the_names_of_a_node(run, prepared):
    whole_life(run, DOMAIN_LIFE)
    assert config(run) == {"description": "Rack 2\n"}


def test_the_documented_privileges_on_names_are_enough_and_necessary(run, prepared):
    privileges = {"Sys_Modify": "/", "Sys_Audit": "/"}
    whole_life(run, limited(run, DOMAIN_LIFE, **privileges))
    for privilege in privileges:
        fewer = limited(run, DOMAIN_LIFE, **{name: "/" for name in privileges if name != privilege})
        assert "privilege" in run.fails(DOMAINS, {**fewer.ident, **DOMAIN_LIFE.created})


def test_names_stay_where_another_hand_put_them(run, prepared):
    config(run).update(acme="domains=A.example.com;b.example.com", acmedomain4="domain=c.example.com,plugin=standalone")
    names = ["a.example.com", "b.example.com", "c.example.com"]
    nothing(run, DOMAIN_LIFE, {"domains": names})
    assert run(DOMAINS, {**NODE, "domains": [*names[1:], "d.example.com"]})["changed"]
    assert config(run) == {
        "description": "Rack 2\n",
        "acme": "domains=b.example.com",
        "acmedomain0": "d.example.com",
        "acmedomain4": "domain=c.example.com,plugin=standalone",
    }


def test_names_that_need_no_place_make_room_for_those_that_do(run, prepared):
    names = [f"n{number}.example.com" for number in range(8)]
    run(DOMAINS, {**NODE, "domains": names})
    assert config(run)["acme"] == "domains=n6.example.com;n7.example.com"
    special = [f"{name},plugin=cloudflare" for name in names[:5]]
    wanted = ["x.example.com,plugin=cloudflare", *special, *names[5:]]
    assert run(DOMAINS, {**NODE, "domains": wanted})["changed"]
    assert config(run)["acme"] == "domains=n6.example.com;n7.example.com;n5.example.com"
    nothing(run, DOMAIN_LIFE, {"domains": wanted})


def test_an_alias_needs_a_place_and_no_plugin(run, prepared):
    given = {"domains": [{"domain": "a.example.com", "alias": "acme.example.org"}]}
    assert both(run, DOMAIN_LIFE, given)["changed"]
    assert config(run)["acmedomain0"] == "a.example.com,alias=acme.example.org"
    nothing(run, DOMAIN_LIFE, given)


def test_a_name_that_somebody_else_adds_meanwhile_is_not_overwritten(run, prepared, monkeypatch):
    pve = run.api.pve
    read, readings = pve._node_config, []

    def meddling(node):
        now = read(node)
        if not readings:
            config(run)["acmedomain0"] = "domain=other.example.com"
        readings.append(node)
        return now

    monkeypatch.setattr(pve, "_node_config", meddling)
    assert run(DOMAINS, {**NODE, "account": "office"})["changed"]
    assert config(run)["acmedomain0"] == "domain=other.example.com"
    assert config(run)["acme"] == "account=office"
    assert len(run.api.writes()) == 2


def test_what_a_later_version_keeps_there_is_not_guessed_at(run, prepared):
    config(run)["acmedomain0"] = "domain=a.example.com,wildcard=1"
    message = run.fails(DOMAINS, {**NODE, "domains": ["a.example.com"]})
    assert "acmedomain0 of node 'pve1' is 'domain=a.example.com,wildcard=1', which cannot be read" in message
    assert "set it anew in the web interface" in message


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"domains": ["pve1"]}, ["'pve1' is not a name with a domain"]),
        ({"domains": ["a.example.com", "A.example.com,plugin=cloudflare"]}, ["'a.example.com' is given twice"]),
        ({"domains": [{"plugin": "cloudflare"}]}, ["'domain' is missing", "plugin=cloudflare"]),
        (
            {"domains": ["a.example.com,plugin=cloudflair"]},
            ["'cloudflair'", "did you mean 'cloudflare'"],
        ),
        ({"domains": ["a.example.com,via=cloudflare"]}, ["unknown key 'via'"]),
        ({"domains": [f"n{number}.example.com,plugin=cloudflare" for number in range(7)]}, ["7", "room for 6"]),
        ({"account": "ofice"}, ["no ACME account 'ofice'", "pve_acme_account"]),
    ],
)
def test_bad_names_are_refused_before_anything_is_written(run, prepared, given, words):
    message = run.fails(DOMAINS, {**NODE, **given})
    assert [word for word in (*words, "node 'pve1'") if word not in message] == []
    assert run.api.writes() == []


def test_what_comes_before_in_the_same_run_may_be_about_to_make_it(run, prepared):
    given = {**NODE, "account": "new", "domains": ["a.example.com,plugin=route53"]}
    warnings = str(run(DOMAINS, given, check=True)["warnings"])
    assert "account 'new'" in warnings
    assert "plugin 'route53'" in warnings
