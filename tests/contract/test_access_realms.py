# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Realms."""

from __future__ import annotations

import pytest

from tests.contract.life import Life, lives, whole_life

DIRECTORY = {"type": "ldap", "server1": "ldap1.example.com", "base_dn": "dc=example,dc=com", "user_attr": "uid"}
COMPANY = {"realm": "company", **DIRECTORY}
PROVIDER = {"realm": "sso", "type": "openid", "issuer_url": "https://id.example.com", "client_id": "proxmox"}
SHARED = {
    "comment": "Company account",
    "default": True,
    "tfa": {"type": "oath", "digits": 8},
    "server2": "ldap2.example.com",
    "port": 636,
    "mode": "ldaps",
    "verify": True,
    "capath": "/etc/ssl/company.pem",
    "cert": "/etc/ssl/node.pem",
    "certkey": "/etc/ssl/node.key",
    "sslversion": "tlsv1_3",
    "case_sensitive": False,
    "bind_dn": "cn=proxmox,dc=example,dc=com",
    "filter": "(memberOf=cn=staff,dc=example,dc=com)",
    "user_classes": ["person", "account"],
    "group_dn": "ou=groups,dc=example,dc=com",
    "group_filter": "(cn=pve-*)",
    "group_classes": ["group"],
    "group_name_attr": "cn",
    "sync_attributes": {"firstname": "givenName", "email": "mail"},
    "sync_defaults_options": {"scope": "both", "enable-new": False, "remove-vanished": "entry;acl"},
}


@lives(
    Life(
        "pve_realm",
        {"realm": "company"},
        DIRECTORY,
        {**SHARED, "server1": "ldap3.example.com", "base_dn": "dc=example,dc=org", "user_attr": "cn"},
        spellings=[
            {"mode": "ldap", "verify": False, "case_sensitive": True, "capath": "/etc/ssl/certs", "default": False},
            {"user_classes": ["user", "person", "posixaccount", "inetorgperson"]},
            {"sync_defaults_options": "", "tfa": ""},
        ],
        removed=[name for name in SHARED if isinstance(SHARED[name], (str, list, dict)) and name not in ("mode",)],
    ),
    Life(
        "pve_realm",
        {"realm": "company"},
        {**DIRECTORY, **SHARED},
        {"tfa": {"type": "oath"}, "sync_defaults_options": {"scope": "users"}},
        spellings=[
            {"tfa": "digits=8,type=oath,step=30", "sync_attributes": "email=mail, firstname=givenName"},
            {"sync_defaults_options": "remove-vanished=acl;entry,scope=both,enable-new=0"},
            {"user_classes": ["account", "person"]},
        ],
    ),
    Life(
        "pve_realm",
        {"realm": "ads"},
        {"type": "ad", "server1": "dc1.example.com", "domain": "example.com"},
        {"domain": "example.org", "case_sensitive": False, "mode": "ldap+starttls"},
    ),
    Life(
        "pve_realm",
        {"realm": "sso"},
        {name: value for name, value in PROVIDER.items() if name != "realm"},
        {
            "issuer_url": "https://id.example.org",
            "client_id": "proxmox2",
            "autocreate": True,
            "prompt": "login",
            "scopes": ["email", "groups"],
            "acr_values": "urn:example:strong",
            "audiences": "proxmox3",
            "query_userinfo": False,
            "groups_claim": "groups",
            "groups_autocreate": True,
            "groups_overwrite": True,
            "comment": "Single sign-on",
        },
        spellings=[{"scopes": ["profile email"]}, {"query_userinfo": True}],
        removed=["prompt", "scopes", "acr_values", "audiences", "groups_claim", "comment"],
    ),
    Life(
        "pve_realm",
        {"realm": "pve"},
        {"type": "pve", "comment": "Local account"},
        {"comment": "Emergency account", "default": True, "tfa": {"type": "oath"}},
        removed=["comment", "tfa"],
        once=True,
    ),
)
def test_whole_life(run, life):
    whole_life(run, life)


@pytest.mark.parametrize(("realm", "option"), [(COMPANY, "password"), (PROVIDER, "client_key")])
def test_a_secret_is_set_once_unless_told_otherwise_and_never_shown(run, realm, option):
    stored = run.api.pve.area("/access/domains")
    key = option.replace("_", "-")
    assert run("pve_realm", {**realm, option: "first secret"})["diff"]["after"][option] == "(hidden)"
    assert stored[realm["realm"]][key] == "first secret"
    assert not run("pve_realm", {**realm, option: "second secret"})["changed"]
    assert stored[realm["realm"]][key] == "first secret"
    again = {**realm, option: "third secret", "update_password": "always"}
    assert run("pve_realm", again, check=True)["diff"] == run("pve_realm", again)["diff"]
    assert stored[realm["realm"]][key] == "third secret"
    run("pve_realm", {**realm, "comment": "x"})
    run("pve_realm", {**realm, "state": "absent"})
    assert [word for word in ("first", "second", "third") if f"{word} secret" in run.output] == []


def test_the_comment_that_proxmox_gives_a_realm_of_its_own_is_none(run):
    assert not run("pve_realm", {"realm": "pam", "comment": ""})["changed"]
    assert not run("pve_realm", {"realm": "pam", "comment": "Linux PAM standard authentication"})["changed"]


def test_the_connection_is_tried_when_asked_for_and_is_no_option_of_the_realm(run):
    run.api.requests()
    run("pve_realm", {**COMPANY, "check_connection": True})
    assert [request.params["check-connection"] for request in run.api.writes()] == ["1"]
    assert not run("pve_realm", {**COMPANY, "check_connection": True})["changed"]


def test_another_realm_that_became_the_default_is_drift(run):
    run("pve_realm", {**COMPANY, "default": True})
    run("pve_realm", {"realm": "pve", "default": True})
    result = run("pve_realm", {**COMPANY, "default": True})
    assert result["diff"] == {"before": {"default": False}, "after": {"default": True}}


def test_a_change_by_another_hand_at_the_same_time_is_kept(run, monkeypatch):
    run("pve_realm", COMPANY)
    pve = run.api.pve
    update, tries = pve.record_update, []

    def meddle(area, ident, values):
        tries.append(values)
        if len(tries) == 1:
            pve.area("/access/domains")["company"]["comment"] = "by another hand"
        return update(area, ident, values)

    monkeypatch.setattr(pve, "record_update", meddle)
    run("pve_realm", {**COMPANY, "port": 636})
    assert len(tries) == 2
    assert pve.area("/access/domains")["company"]["comment"] == "by another hand"
    assert pve.area("/access/domains")["company"]["port"] == 636


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"realm": "new"}, ["realm 'new'", "type is missing"]),
        ({"realm": "new", "type": "ldap", "server1": "a"}, ["base_dn is missing", "user_attr is missing", "type ldap"]),
        ({"realm": "new", "type": "openid"}, ["issuer_url is missing", "client_id is missing"]),
        ({"realm": "new", "type": "pam"}, ["realm 'new'", "one realm of each of the types pam and pve"]),
        ({"realm": "pam", "state": "absent"}, ["realm 'pam'", "comes with Proxmox VE"]),
        ({"realm": "pve", "server1": "a"}, ["realm 'pve'", "server1", "ldap and ad", "type pve", "leave it out"]),
        ({**COMPANY, "domain": "example.com"}, ["realm 'company'", "domain", "type ad", "type ldap"]),
        ({"realm": "company", "type": "ad"}, ["type is 'ldap'", "cannot be changed to 'ad'", "remove it"]),
        ({"realm": "company", "server1": ""}, ["server1 is missing", "needs it"]),
        ({"realm": "company", "tfa": "type=totp"}, ["tfa", "'totp' is not one of oath"]),
        ({"realm": "company", "tfa": {"digits": 6}}, ["tfa", "'type' is missing"]),
        ({"realm": "company", "sync_defaults_options": "scope=all"}, ["'all' is not one of users, groups, both"]),
        ({"realm": "company", "sync_defaults_options": "remove-vanished=all"}, ["'all'", "acl, properties, entry"]),
        ({"realm": "company", "sync_attributes": {"mail": "mail"}}, ["unknown key 'mail'", "did you mean 'email'?"]),
        ({"realm": "company", "sslversion": "tls13"}, ["sslversion", "'tls13' is not one of tlsv1,"]),
        ({"realm": "company", "port": 0}, ["port", "at least 1"]),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_a_realm_that_cannot_be_is_refused_before_the_first_write(run, given, words, check):
    run("pve_realm", COMPANY)
    run.api.requests()
    message = run.fails("pve_realm", given, check=check)
    assert [word for word in words if word not in message] == []
    assert run.api.writes() == []
