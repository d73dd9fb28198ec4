# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of the API: what is written comes back, and what means the same compares equal."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from ansible.plugins.loader import init_plugin_loader
from hypothesis import given
from hypothesis import strategies as st

init_plugin_loader([str(Path(__file__).resolve().parents[2] / "collections")])
UTILS = "ansible_collections.onprem.cloud.plugins.module_utils.pve"
lxc = importlib.import_module(f"{UTILS}.lxc")
properties = importlib.import_module(f"{UTILS}.properties")

WORD = st.from_regex(r"[a-z][a-z0-9]{0,7}", fullmatch=True)
FLAGS = {True: ("1", "on", "yes", "true", 1, True, "TRUE"), False: ("0", "off", "no", "false", 0, False)}
# A strategy for what a key may hold: (as it is written, what it means).
VALUES: dict[type, Any] = {
    properties.Boolean: lambda kind: st.booleans().flatmap(
        lambda flag: st.sampled_from(FLAGS[flag]).map(lambda text: (text, flag))
    ),
    properties.Number: lambda kind: st.integers(int(kind.minimum), int(kind.maximum or 10**6)).flatmap(
        lambda number: st.sampled_from((number, str(number))).map(lambda text: (text, number))
    ),
    properties.Size: lambda kind: st.integers(1, 4096).flatmap(
        lambda size: st.sampled_from((size, f"{size}G", f"{size * 1024}M", f"{size} g")).map(
            lambda text: (text, size << 30)
        )
    ),
    properties.Words: lambda kind: st.lists(WORD, min_size=1, unique=True).map(
        lambda words: (";".join(words), sorted(words))
    ),
    properties.Mac: lambda kind: (
        st.integers(0, 2**24 - 1)
        .map(lambda number: (f"bc:24:11:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",) * 2)
        .map(lambda pair: (pair[0], pair[1].upper()))
    ),
    properties.Network: lambda kind: st.one_of(
        st.sampled_from(kind.words).map(lambda word: (word, word)),
        st.ip_addresses(v=kind.version).map(lambda address: (f"{address}/64"[: -3 if kind.version == 4 else None],) * 2)
        if kind.version == 6
        else st.ip_addresses(v=4).map(lambda address: (f"{address}/24", f"{address}/24")),
    ),
    properties.Address: lambda kind: st.ip_addresses(v=4).map(lambda address: (str(address), str(address))),
    properties.Text: lambda kind: (
        st.sampled_from(kind.choices).map(lambda word: (word, word))
        if kind.choices
        else WORD.map(lambda word: (f"/dev/{word}", f"/dev/{word}") if kind.pattern else (word, word))
    ),
}
STRINGS = {"net": lxc.NET, "features": lxc.FEATURES, "startup": lxc.STARTUP, "dev": lxc.DEVICE, "mp": lxc.MP}


@st.composite
def written(draw: st.DrawFn, kind: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A dict as a user may write it, and what it means."""
    keys = draw(st.lists(st.sampled_from(sorted(set(kind.kinds) - {"volume"})), unique=True))
    pairs = {key: draw(VALUES[type(kind.kinds[key])](kind.kinds[key])) for key in keys}
    if isinstance(kind, properties.Mount):
        pairs.update(storage=("tank", "tank"), size=("8", 8 << 30))
    meaning = {key: value for key, (_text, value) in pairs.items() if kind.defaults.get(key) != value}
    return {key: text for key, (text, _value) in pairs.items()}, meaning


@pytest.mark.parametrize("name", STRINGS)
@given(data=st.data())
def test_what_is_written_means_the_same_as_dict_and_as_string(name, data):
    kind = STRINGS[name]
    given_dict, meaning = data.draw(written(kind))
    assert kind.parse(given_dict) == meaning
    shuffled = data.draw(st.permutations(list(given_dict.items())))
    if not isinstance(kind, properties.Mount):
        assert kind.parse(",".join(f"{key}={value}" for key, value in shuffled)) == meaning


@pytest.mark.parametrize("name", STRINGS)
@given(data=st.data())
def test_what_is_sent_is_read_back_as_the_same(name, data):
    kind = STRINGS[name]
    _given, meaning = data.draw(written(kind))
    assert kind.parse(kind.format(meaning)) == meaning


@given(st.integers(0, 2**50))
def test_sizes_survive(size):
    size -= size % 1024
    assert properties.Size().parse(properties.Size().format(size)) == size


@given(st.text())
def test_no_text_is_accepted_with_a_crash(text):
    for kind in (*STRINGS.values(), *(option.kind for option in lxc.LXC_OPTIONS.values())):
        try:
            meaning = kind.parse(text)
        except properties.Invalid:
            continue
        assert kind.parse(kind.format(meaning)) == meaning


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        (lxc.NET, "name=eth0,bridge=vmbr0,firewall=0,link_down=0", {"bridge": "vmbr0", "name": "eth0"}),
        (lxc.NET, "name=eth0,ip6=2001:DB8:0::1/64", {"name": "eth0", "ip6": "2001:db8::1/64"}),
        (lxc.ROOTFS, "local-lvm:8", {"storage": "local-lvm", "size": "8192M"}),
        (lxc.ROOTFS, "volume=local-lvm:0.5", {"storage": "local-lvm", "size": "512M"}),
        (lxc.MP, "tank:8,mp=/srv,backup=0,replicate=1", {"storage": "tank", "size": 8, "mp": "/srv"}),
        (lxc.MP, "/mnt,mp=/host", {"volume": "/mnt", "mp": "/host"}),
        (lxc.STARTUP, "2", {"order": 2}),
        (lxc.FEATURES, "mount=nfs;cifs,nesting=1", {"nesting": "yes", "mount": "cifs; nfs", "keyctl": False}),
        (lxc.LXC_OPTIONS["tags"].kind, "Web;prod,alpha", ["prod", "alpha", "web", "web"]),
        (lxc.LXC_OPTIONS["description"].kind, "one\ntwo", "one\ntwo\n"),
        (lxc.LXC_OPTIONS["cpulimit"].kind, "0.5", 0.5),
        (lxc.LXC_OPTIONS["cpuunits"].kind, 1, 2),
    ],
)
def test_other_spellings_mean_the_same(kind, one, other):
    assert kind.parse(one) == kind.parse(other)


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (lxc.NET, "name=eth0,brigde=vmbr0", ["'brigde'", "did you mean 'bridge'?"]),
        (lxc.NET, "name=eth0,name=eth1", ["'name'", "twice"]),
        (lxc.NET, "eth0", ["'eth0'", "key=value"]),
        (lxc.NET, "name=eth0,ip=192.0.2.1", ["192.0.2.1", "192.0.2.10/24"]),
        (lxc.NET, "name=eth0,hwaddr=01:00:00:00:00:00", ["unicast"]),
        (lxc.NET, {"name": "eth0", "tag": 4095}, ["4095", "4094"]),
        (lxc.NET, {"name": "eth0", "firewall": "maybe"}, ["firewall", "maybe"]),
        (lxc.MP, "tank:8,mp=srv", ["absolute path"]),
        (lxc.ROOTFS, {"storage": "tank", "size": "8X"}, ["8X", "8G"]),
        (lxc.FEATURES, "xyz=1", ["'xyz'", "nesting"]),
    ],
)
def test_what_cannot_be_meant_is_explained(kind, value, words):
    with pytest.raises(properties.Invalid) as caught:
        kind.parse(value)
    for word in words:
        assert word in str(caught.value)
