# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pve_template: templates from the index of appliances and from a URL."""

from __future__ import annotations

import hashlib

import pytest

from tests.contract.life import Life, limited
from tests.contract.serving import SECRET

APPLIANCE = "debian-12-standard_12.12-1_amd64.tar.zst"
URL = "https://downloads.example.com/company-base_1.0_amd64.tar.zst"
CONTENT = b"the template of the company"
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
VOLUME = "local:vztmpl/company-base_1.0_amd64.tar.zst"


@pytest.fixture
def templates(api):
    """The names of the templates on the storage."""

    def names(storage="local"):
        return sorted(name for name in api.pve._volumes(storage) if name.startswith("vztmpl/"))

    api.pve.add_appliance(APPLIANCE)
    api.pve.downloads[URL] = CONTENT
    present = names()

    def added(storage="local"):
        return [name for name in names(storage) if name not in present]

    return added


@pytest.mark.parametrize(
    ("args", "name"),
    [
        ({"template": APPLIANCE}, APPLIANCE),
        ({"template": "debian-12-standard"}, APPLIANCE),
        ({"url": URL, "checksum": CHECKSUM}, "company-base_1.0_amd64.tar.zst"),
        ({"url": URL, "checksum": CHECKSUM, "template": "base.tar.zst"}, "base.tar.zst"),
        ({"url": URL, "checksum": f"sha512:{hashlib.sha512(CONTENT).hexdigest().upper()}"}, VOLUME.rpartition("/")[2]),
    ],
    ids=["appliance", "newest", "url", "named", "upper-case-sha512"],
)
def test_whole_life(api, run, templates, args, name):
    predicted = run("pve_template", args, check=True)
    assert predicted["changed"]
    assert predicted["volid"] == f"local:vztmpl/{name}"
    assert api.writes() == []

    done = run("pve_template", args)
    assert done["changed"]
    assert (done["volid"], done["diff"]) == (predicted["volid"], predicted["diff"])
    assert templates() == [f"vztmpl/{name}"]
    api.requests()

    for check in (True, False):
        again = run("pve_template", args, check=check)
        assert not again["changed"]
        assert again["volid"] == done["volid"]
    assert api.writes() == []

    gone = {"template": name, "state": "absent"}
    assert run("pve_template", gone, check=True)["changed"]
    assert templates() == [f"vztmpl/{name}"]
    assert run("pve_template", gone)["changed"]
    assert templates() == []
    api.requests()
    assert not run("pve_template", gone)["changed"]
    assert api.writes() == []


def test_the_newest_of_the_index_is_taken_when_there_is_none(api, run, templates):
    for version in ("12.2-1", "12.7-1"):
        api.pve.add_appliance(f"debian-12-standard_{version}_amd64.tar.zst")
    assert run("pve_template", {"template": "debian-12-standard"})["volid"] == f"local:vztmpl/{APPLIANCE}"


def test_a_newer_one_in_the_index_changes_nothing(api, run, templates):
    run("pve_template", {"template": "debian-12-standard"})
    api.pve.add_appliance("debian-12-standard_12.13-1_amd64.tar.zst")
    result = run("pve_template", {"template": "debian-12-standard"})
    assert not result["changed"]
    assert result["volid"] == f"local:vztmpl/{APPLIANCE}"


def test_a_container_is_made_of_what_was_downloaded(api, run, templates, container):
    volume = run("pve_template", {"url": URL, "checksum": CHECKSUM})["volid"]
    assert run.fleet(container(ostemplate=volume))["changed"]


def test_wrong_checksum_leaves_nothing_behind(api, run, templates):
    message = run.fails("pve_template", {"url": URL, "checksum": f"sha256:{'0' * 64}"})
    assert "checksum mismatch" in message
    assert "company-base_1.0_amd64.tar.zst" in message
    assert templates() == []
    assert run("pve_template", {"url": URL, "checksum": CHECKSUM})["changed"]


def test_address_that_does_not_answer_in_the_words_of_the_api(run, templates):
    url = "https://downloads.example.com/nosuch_1.0_amd64.tar.zst"
    message = run.fails("pve_template", {"url": url, "checksum": CHECKSUM})
    assert "404 Not Found" in message
    assert templates() == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, ["template", "url"]),
        ({"url": URL}, ["checksum"]),
        ({"url": URL, "checksum": "12345"}, ["checksum", "sha256:"]),
        ({"url": URL, "checksum": "crc32:12345"}, ["checksum"]),
        ({"template": "debian-12-standart"}, ["debian-12-standart", "debian-12-standard"]),
        ({"template": "debian-99-standard"}, ["debian-99-standard", "pveam update"]),
        ({"template": APPLIANCE, "storage": "nosuch"}, ["nosuch"]),
        ({"template": APPLIANCE, "storage": "local-lvm"}, ["local-lvm"]),
        ({"template": APPLIANCE, "node": "pve9"}, ["pve9"]),
        ({"template": APPLIANCE, "api_token_secret": "wrong"}, ["root@pam!test", "api_token_secret"]),
    ],
    ids=["none", "no-checksum", "malformed", "algorithm", "typo", "unknown", "storage", "content", "node", "token"],
)
def test_bad_input(api, run, templates, args, words):
    message = run.fails("pve_template", args)
    assert "Traceback" not in message
    for word in words:
        assert word in message
    assert templates() == []
    assert [write for write in api.writes() if write.method != "POST"] == []


def test_storage_that_holds_no_templates_is_refused_in_check_mode_too(run, templates):
    message = run.fails("pve_template", {"template": APPLIANCE, "storage": "local-lvm"}, check=True)
    assert "local-lvm" in message


def test_node_may_be_left_out_where_there_is_one(api, run, templates):
    api.pve.add_node("pve2")
    message = run.fails("pve_template", {"template": APPLIANCE})
    assert "node" in message
    assert "pve1" in message
    assert "pve2" in message
    assert run("pve_template", {"template": APPLIANCE, "node": "pve2"})["changed"]


def test_download_that_never_ends(api, run, templates):
    api.pve.time_scale = 0.01
    api.pve.plan_task("download", never=True)
    message = run.fails("pve_template", {"template": APPLIANCE, "task_timeout": 1})
    assert "UPID:pve1:" in message
    assert "task_timeout" in message
    api.call(api.pve.interrupt_tasks())
    assert run("pve_template", {"template": APPLIANCE})["changed"]
    assert templates() == [f"vztmpl/{APPLIANCE}"]


@pytest.mark.parametrize("seed", range(3))
def test_one_request_in_ten_is_dropped(api, run, templates, seed):
    api.pve._random.seed(seed)
    api.pve.flaky_network(drop_rate=0.1)
    run.any("pve_template", {"template": APPLIANCE})
    api.pve.flaky_network()
    run("pve_template", {"template": APPLIANCE})
    assert templates() == [f"vztmpl/{APPLIANCE}"]
    assert not run("pve_template", {"template": APPLIANCE})["changed"]


def test_task_with_warnings(api, run, templates):
    api.pve.plan_task("download", warnings=1, log=["WARN: the mirror is slow"])
    result = run("pve_template", {"template": APPLIANCE})
    assert result["changed"]
    assert "the mirror is slow" in str(result["warnings"])


def test_secrets_are_never_shown(run, templates):
    run("pve_template", {"template": APPLIANCE})
    run.fails("pve_template", {"template": APPLIANCE, "storage": "nosuch"})
    assert SECRET not in run.output


def test_the_documented_privileges_are_enough_and_needed(api, run, templates):
    storage, node = "/storage/local", "/nodes/pve1"
    needed = {"Datastore_Audit": storage, "Datastore_AllocateTemplate": storage, "Sys_AccessNetwork": node}
    appliance, ours = {"template": APPLIANCE, "node": "pve1"}, {"url": URL, "checksum": CHECKSUM, "node": "pve1"}

    def login(**privileges):
        return limited(run, Life("pve_template", {}, {}, {}), **privileges).ident

    assert "Datastore.AllocateTemplate" in run.fails("pve_template", {**appliance, **login(Datastore_Audit=storage)})
    for given in (appliance, ours):
        assert run("pve_template", {**given, **login(**needed)})["changed"]
        assert not run("pve_template", {**given, **login(**needed)})["changed"]
    gone = {**appliance, "state": "absent"}
    assert "Datastore.Allocate)" in run.fails("pve_template", {**gone, **login(**needed)})
    assert run("pve_template", {**gone, **login(Datastore_Audit=storage, Datastore_Allocate=storage)})["changed"]
