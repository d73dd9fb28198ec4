# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Windows machine of a site: what Proxmox VE keeps of it, its installation medium, and what is refused.

The API is the served one, the node is this computer with the kernel's files of a recorded one. No Windows is installed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12
from fakepve import schema as pve_schema

from tests.contract.running import ROOT, Node, Played
from tests.contract.serving import SECRET, TOKEN, Api

apt_install = importlib.import_module("tests.lab.machines").apt_install
Unfolded = importlib.import_module("tests.unit.conftest").Unfolded
# One process for all of them, since they look at one site.
pytestmark = pytest.mark.xdist_group("windows")
MACHINE = ROOT / "tests/unit/machines/b650e.yml"
PASSWORD = "Correct-Horse<&>7-Battery"
KEY = "ABCDE-FGHIJ-KLMNO-PQRST-UVWX7"
MEDIUM = "onprem-900-windows-render.iso"
STATE = r"C:\ProgramData\onprem\state"


class Site:
    """An inventory with one Windows machine, and its node."""

    def __init__(self, api: Api, directory: Path) -> None:
        self.api, self.directory = api, directory
        self.storage, self.state = directory / "storage", directory / "state"
        self.node = Node(
            api,
            directory,
            site_prefix="192.0.2",
            site_gateway="192.0.2.1",
            site_nameservers=[],
            site_domain="example.com",
            site_timezone="Europe/Paris",
            site_known_hosts=str(directory / "known_hosts"),
            site_admin_networks=["198.51.100.0/24"],
            site_ca_directory=str(directory / "ca"),
            secrets_directory=str(directory / "secrets"),
            pve_api_host=api.pve.host,
            pve_api_user="root@pam",
            pve_api_token_id=TOKEN.partition("!")[2],
            pve_api_token_secret=SECRET,
            pve_api_ca_path=api.ca_path,
        )
        api.pve.storages["local"].update(path=str(self.storage))
        for disc in ("windows-11.iso", "virtio-win.iso"):
            api.pve.store_file("local", disc, 6_000_000_000)
        self._list_files()
        self.kernel = Unfolded(directory / "kernel", yaml.safe_load(MACHINE.read_text()))
        self.set_apart()
        self.collections = self._collections()
        (directory / "secrets").mkdir(mode=0o700)
        self.password = PASSWORD
        example = ROOT / "inventories/example"
        shutil.copytree(example / "group_vars", self.node.inventory / "group_vars", ignore=lambda *_: ["all"])
        self.variables = yaml.safe_load((example / "host_vars/windows-render.yml").read_text()) | {
            "windows_vm_state_directory": str(self.state),
            "windows_vm_boot_key_presses": 2,
            "windows_vm_product_key": KEY,
            "windows_vm_disk_storage": "local-lvm",
            "site_ssh_public_key": "ssh-ed25519 AAAA nobody",
        }
        self.inventory()

    def inventory(self, **variables: Any) -> None:
        """Write the inventory, with what a test changes of the host."""
        host = {**self.variables, **variables}
        tree = {"guests": {"children": {"virtual_machines": {"children": {"windows_machines": None}}}}}
        tree["windows_machines"] = {"hosts": {"windows-render": host}}
        tree["prometheus_servers"] = {"hosts": {"monitoring": {"ansible_host": "192.0.2.31"}}}
        (self.node.inventory / "windows.json").write_text(json.dumps(tree))
        (self.directory / "secrets/windows_windows-render.txt").write_text(self.password)

    def _list_files(self) -> None:
        """Have the storage list the images that are in its directory."""
        answer, volumes = self.api.pve._answer, self.api.pve.storages["local"]["volumes"]

        async def listing(*args: Any) -> Any:
            there = self.medium.exists()
            if there != (f"iso/{MEDIUM}" in volumes):
                if there:
                    self.api.pve.store_file("local", MEDIUM, self.medium.stat().st_size)
                else:
                    self.forget(MEDIUM)
            return await answer(*args)

        self.api.pve._answer = listing

    def forget(self, *discs: str) -> None:
        """Have the storage no longer hold these images."""
        store = self.api.pve.storages["local"]
        for disc in discs:
            store["files"].discard(disc)
            del store["volumes"][f"iso/{disc}"]

    def set_apart(self) -> None:
        """Have vfio-pci hold the card, as the role gpu_passthrough does."""
        for address in ("0000:01:00.0", "0000:01:00.1"):
            self.kernel.bind(address, "vfio-pci")

    def _collections(self) -> Path:
        """The collection, whose modules read the kernel's files of the recorded machine."""
        found = self.directory / "collections/ansible_collections/onprem/cloud"
        (found / "plugins/modules").mkdir(parents=True)
        for place, below in ((ROOT, found), (ROOT / "plugins", found / "plugins"), (ROOT / "plugins/modules",) * 2):
            target = found / "plugins/modules" if below == ROOT / "plugins/modules" else below
            for entry in place.iterdir():
                if entry.name not in ("plugins", "modules", "collections") and not (target / entry.name).exists():
                    (target / entry.name).symlink_to(entry)
        for name in ("gpu_passthrough.py", "pci_info.py"):
            text = (ROOT / "plugins/modules" / name).read_text()
            (found / "plugins/modules" / name).unlink()
            changed = text.replace('root: str = "/"', f"root: str = {str(self.kernel.root)!r}")
            assert changed != text
            (found / "plugins/modules" / name).write_text(changed)
        return self.directory / "collections"

    def play(self, *arguments: str, **environment: str) -> Played:
        self.api.requests()
        return self.node.play(
            ROOT / "playbooks/guests.yml",
            *("--tags", "windows_vm,guest"),
            *arguments,
            PROXMOX_PORT=str(self.api.pve.port),
            **{"ANSIBLE_COLLECTIONS_PATH": str(self.collections), **environment},
        )

    def done(self, *arguments: str, **environment: str) -> Played:
        played = self.play(*arguments, **environment)
        assert played.code == 0, re.findall(r"^.*(?:ERROR|FAILED).*$", played.output, re.MULTILINE) or played.output
        return played

    @property
    def medium(self) -> Path:
        return self.storage / "template/iso" / MEDIUM

    @property
    def config(self) -> dict[str, Any]:
        vm = self.api.pve.vm(900)
        return {**vm.config, **vm.pending}

    def install(self, said: str = "installed") -> None:
        """Have Windows be there, as far as its guest agent says."""
        self.api.pve.vm(900).agent = {"files": {STATE: said}}


@pytest.fixture
def site(api: Api, tmp_path: Path) -> Site:
    return Site(api, tmp_path)


class Watch:
    """Looks at the command lines of all processes, again and again."""

    def __init__(self, *secrets: str) -> None:
        self.secrets, self.seen, self.looks = [secret.encode() for secret in secrets], set(), 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self.over.wait(0.1):
            self.looks += 1
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    line = path.read_bytes()
                    self.seen |= {line for secret in self.secrets if secret in line}

    def __enter__(self) -> Watch:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


class Built(NamedTuple):
    """A site after its first run, which was in check mode before, and what both runs did."""

    site: Site
    predicted: Played
    untouched: bool
    first: Played
    changes: list[Any]
    watch: Watch
    content: Path


@pytest.fixture(scope="module")
def built(start_api: Callable[[], Api], tmp_path_factory: pytest.TempPathFactory) -> Built:
    if not shutil.which("xorriso"):
        apt_install("xorriso")
    directory = tmp_path_factory.mktemp("site")
    site = Site(start_api(), directory)
    predicted = site.done("--check", "--diff", "-vvv")
    untouched = not (site.medium.exists() or site.state.exists() or site.api.pve.vms or site.api.changes())
    with Watch(PASSWORD, KEY) as watch:
        # As it is by default, with a temporary file for every module.
        first = site.done("--diff", "-vvv", ANSIBLE_PIPELINING="false")
    changes = site.api.changes()
    # By the names that Windows reads, those of Joliet.
    subprocess.run(
        ["xorriso", "-read_fs", "norock", "-osirrox", "on", "-indev", site.medium, "-extract", "/", directory / "disc"],
        check=True, capture_output=True,
    )  # fmt: skip
    return Built(site, predicted, untouched, first, changes, watch, directory / "disc")


# ------------------------------------------------------------------------------------------------ the machine

EXPECTED = {
    "agent": "1",
    "balloon": 0,
    "bios": "ovmf",
    "boot": "order=scsi0;sata0",
    "cores": 8,
    "cpu": "host",
    "cpuunits": 50,
    "efidisk0": "local-lvm:vm-900-disk-N,efitype=4m,pre-enrolled-keys=1,size=528K",
    "hostpci0": "mapping=rtx4090,pcie=1,x-vga=1",
    "machine": "pc-q35-10.0+pve1",
    "memory": "16384",
    "name": "windows-render",
    "numa": 1,
    "onboot": 1,
    "ostype": "win11",
    "sata0": "local:iso/windows-11.iso,media=cdrom",
    "sata1": "local:iso/virtio-win.iso,media=cdrom",
    "sata2": f"local:iso/{MEDIUM},media=cdrom",
    "scsi0": "local-lvm:vm-900-disk-N,discard=on,iothread=1,size=100G,ssd=1",
    "scsihw": "virtio-scsi-single",
    "sockets": 1,
    "tpmstate0": "local-lvm:vm-900-disk-N,size=4M,version=v2.0",
}


def test_machine_is_kept_as_reviewed(built: Built) -> None:
    config = {key: re.sub(r"-disk-\d", "-disk-N", str(value)) for key, value in built.site.config.items()}
    config = {key: re.sub(r"(cdrom),size=\w+", r"\1", value) for key, value in config.items()}
    assert {key: config.get(key) for key in EXPECTED} == {key: str(value) for key, value in EXPECTED.items()}
    assert config["net0"].startswith("virtio=BC:24:11:")
    # What comes with every machine.
    assert config.keys() - EXPECTED.keys() == {"meta", "net0", "protection", "smbios1", "tags", "vmgenid"}


def test_machine_is_what_the_schema_of_proxmox_ve_allows(built: Built) -> None:
    put = pve_schema.load().paths["/nodes/{node}/qemu/{vmid}/config"]["PUT"]["parameters"]
    # Kept for itself, and no option.
    config = {key: value for key, value in built.site.config.items() if key != "meta"}
    _, errors = pve_schema.validate(put, {"node": "pve1", "vmid": 900, **config})
    assert errors == {}


def test_card_is_named_as_the_kernel_shows_it(built: Built) -> None:
    (write,) = [change.params for change in built.changes if change.path == "/cluster/mapping/pci"]
    assert write["id"] == "rtx4090"
    assert write["map"] == "node=pve1,path=0000:01:00,id=10de:2684,iommugroup=13,subsystem-id=1458:40bf"


def test_key_is_pressed_for_the_disc_of_windows_once_the_machine_runs(built: Built) -> None:
    paths = [change.path.rpartition("/")[2] for change in built.changes if "/qemu" in change.path]
    assert paths == ["qemu", "start", "sendkey", "sendkey"]


# ------------------------------------------------------------------------------------------------- the medium

FILES = ["autounattend.xml", "onprem/ca.crt", "onprem/prepare.cmd", "onprem/settings.json", "onprem/setup.ps1"]
FILES += ["onprem/start.cmd", "onprem/winrm.p12"]
UNATTEND, WCM = "{urn:schemas-microsoft-com:unattend}", "{http://schemas.microsoft.com/WMIConfig/2002/State}"
# The components of Windows that the answer file speaks to, in the passes that they know.
COMPONENTS = {
    "windowsPE": ["International-Core-WinPE", "PnpCustomizationsWinPE", "Setup"],
    "specialize": ["Shell-Setup", "Deployment"],
    "oobeSystem": ["International-Core", "Shell-Setup"],
}


def answers(content: Path) -> dict[str, list[str | None]]:
    """The texts of the answer file by pass, component and path."""
    found: dict[str, list[str | None]] = {}

    def walk(node: ElementTree.Element, path: str) -> None:
        for child in node:
            walk(child, f"{path}/{child.tag.removeprefix(UNATTEND)}")
        if not len(node):
            found.setdefault(path, []).append(node.text)

    for settings in ElementTree.parse(content / "autounattend.xml").getroot():
        for component in settings:
            walk(component, f"{settings.get('pass')}/{component.get('name').removeprefix('Microsoft-Windows-')}")
    return found


def test_medium_is_for_root_alone_and_read_by_the_names_of_joliet(built: Built) -> None:
    assert built.site.medium.stat().st_mode & 0o777 == 0o600
    found = [path for path in built.content.rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(built.content)) for path in found) == FILES


def test_answer_file_speaks_to_components_that_windows_has(built: Built) -> None:
    root = ElementTree.parse(built.content / "autounattend.xml").getroot()
    assert root.tag == f"{UNATTEND}unattend"
    assert {
        settings.get("pass"): [part.get("name").removeprefix("Microsoft-Windows-") for part in settings]
        for settings in root
    } == COMPONENTS
    for component in root.iter(f"{UNATTEND}component"):
        assert {key: value for key, value in component.attrib.items() if key != "name"} == {
            "processorArchitecture": "amd64",
            "publicKeyToken": "31bf3856ad364e35",
            "language": "neutral",
            "versionScope": "nonSxS",
        }
    items = [node for node in root.iter() if f"{WCM}action" in node.attrib]
    assert {node.get(f"{WCM}action") for node in items} == {"add"}
    keys = [node.get(f"{WCM}keyValue") for node in items if node.tag == f"{UNATTEND}PathAndCredentials"]
    assert keys == [str(number) for number in range(1, 13)]


def test_answer_file_leaves_no_question_open(built: Built) -> None:
    found = answers(built.content)
    disk = "windowsPE/Setup/DiskConfiguration/Disk"
    assert found[f"{disk}/CreatePartitions/CreatePartition/Type"] == ["EFI", "MSR", "Primary"]
    assert found["windowsPE/Setup/ImageInstall/OSImage/InstallTo/PartitionID"] == ["3"]
    assert found["windowsPE/Setup/ImageInstall/OSImage/InstallFrom/MetaData/Value"] == ["Windows 11 Pro"]
    assert found["windowsPE/Setup/UserData/ProductKey/Key"] == [KEY]
    assert found["windowsPE/Setup/UserData/AcceptEula"] == ["true"]
    drivers = found["windowsPE/PnpCustomizationsWinPE/DriverPaths/PathAndCredentials/Path"]
    assert drivers[2:4] == [r"D:\vioscsi\w11\amd64", r"D:\NetKVM\w11\amd64"]
    assert found["specialize/Shell-Setup/ComputerName"] == ["windows-render"]
    assert found["oobeSystem/Shell-Setup/TimeZone"] == ["Romance Standard Time"]
    account = "oobeSystem/Shell-Setup/UserAccounts/LocalAccounts/LocalAccount"
    assert found[f"{account}/Name"] == ["onprem"]
    assert found[f"{account}/Group"] == ["Administrators"]
    assert found[f"{account}/Password/Value"] == [PASSWORD]
    # Nobody is logged on for the script's sake: that would leave the password in the registry.
    assert not [path for path in found if "AutoLogon" in path]


def test_settings_let_in_administrators_and_prometheus_only(built: Built) -> None:
    settings = json.loads((built.content / "onprem/settings.json").read_text())
    admins = ["198.51.100.0/24"]
    assert [(rule["protocol"], rule.get("port"), rule["from"]) for rule in settings["rules"]] == [
        ("TCP", 3389, admins),
        ("UDP", 3389, admins),
        ("TCP", 5986, admins),
        ("ICMPv4", None, admins),
        ("TCP", 9182, ["192.0.2.31"]),
    ]
    (package,) = settings["packages"]
    assert re.search(r"/v(\d+\.\d+\.\d+)/windows_exporter-\1-amd64\.msi$", package["url"])
    assert "gpu" in package["arguments"]
    assert re.fullmatch("[0-9a-f]{64}", package["sha256"])


def test_scripts_are_what_windows_reads(built: Built) -> None:
    for name in ("prepare.cmd", "start.cmd"):
        text = (built.content / "onprem" / name).read_bytes()
        assert text.count(b"\n") == text.count(b"\r\n") > 3
    # Windows PowerShell takes a file without a mark for one of the system's own character set.
    assert (built.content / "onprem/setup.ps1").read_bytes().isascii()


def test_windows_gets_a_certificate_that_the_controller_verifies(built: Built) -> None:
    archive = (built.content / "onprem/winrm.p12").read_bytes()
    key, certificate, _ = pkcs12.load_key_and_certificates(archive, b"windows-render")
    authority = x509.load_pem_x509_certificate((built.site.directory / "ca/ca.crt").read_bytes())
    assert certificate.public_key() == key.public_key()
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["windows-render"]
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.14"]
    assert (built.content / "onprem/ca.crt").read_bytes() == (built.site.directory / "ca/ca.crt").read_bytes()


def test_secrets_are_on_the_medium_and_nowhere_else(built: Built) -> None:
    raw = (PASSWORD.encode(), PASSWORD.replace("<&>", "&lt;&amp;&gt;").encode(), KEY.encode())
    assert any(secret in built.site.medium.read_bytes() for secret in raw)
    for output in (built.predicted.output, built.first.output):
        assert not [secret for secret in raw if secret in output.encode()]
    given = [built.site.medium, *built.site.node.inventory.rglob("*"), *(built.site.directory / "secrets").rglob("*")]
    found = [path for path in built.site.directory.rglob("*") if path.is_file() and built.content not in path.parents]
    assert not [str(path) for path in found if path not in given and any(secret in path.read_bytes() for secret in raw)]
    made = {Path(place) for place in re.findall(r"/dev/shm/onprem-windows\.\w+", built.first.output)}
    assert len(made) == 1
    assert not [place for place in made if place.exists()]
    assert built.watch.looks > 10
    assert not built.watch.seen
    held = json.dumps(built.site.config) + built.site.node.calls.read_text()
    assert not [secret for secret in raw if secret.decode() in held]
    assert {path.stat().st_mode & 0o777 for path in built.site.state.rglob("*") if path.is_file()} == {0o600}


# --------------------------------------------------------------------------------------- before and afterwards


def test_check_mode_touches_nothing_and_predicts_the_machine(built: Built) -> None:
    assert built.untouched
    predicted, done = (set(played.changed) for played in (built.predicted, built.first))
    assert "onprem.cloud.guest : Create, change and start the guests" in predicted
    assert "onprem.cloud.windows_vm : Name the card for the virtual machine" in predicted
    assert predicted <= done


def test_windows_is_installed_once_and_its_medium_removed(built: Built) -> None:
    """One after the other, since each run begins where the one before it ended."""
    site = built.site
    medium = site.medium.read_bytes(), site.medium.stat().st_mtime_ns

    # While Windows is being installed, nothing changes, and check mode says so.
    for arguments in ([], ["--check", "--diff"]):
        assert site.done(*arguments).changed == []
        assert site.api.changes() == []
    assert (site.medium.read_bytes(), site.medium.stat().st_mtime_ns) == medium

    # Other wishes are on another medium, and what Windows says of itself is passed on.
    site.inventory(windows_vm_keyboard="fr-FR")
    site.install(said="failed at Install-AllPackage: no answer")
    played = site.play()
    assert played.changed == ["onprem.cloud.windows_vm : Put the medium into the storage"]
    assert "the installation of Windows has failed at Install-AllPackage: no answer" in played.output
    assert site.config["sata2"].startswith(f"local:iso/{MEDIUM}")

    # Once it is there, the machine gives the medium back, and the node forgets it.
    site.install()
    site.done()
    assert [site.config[f"sata{number}"] for number in range(3)] == ["none,media=cdrom"] * 3
    assert not site.medium.exists()
    assert not list(site.state.iterdir())

    # It is not installed again, and nothing of the installation is needed, whether it runs or not.
    site.forget("windows-11.iso", "virtio-win.iso")
    vm = site.api.pve.vm(900)
    vm.config, vm.pending, vm.agent = site.config, {}, None
    assert site.done().changed == []
    assert not site.medium.exists()


# --------------------------------------------------------------------------------------------------- refusals


def refused(site: Site, **variables: Any) -> str:
    """What a run says that must change nothing."""
    site.inventory(**variables)
    played = site.play()
    assert played.code == 2
    assert played.changed == []
    assert site.api.changes() == []
    assert not [place for place in (site.medium, site.state, site.directory / "ca") if place.exists()]
    found = re.search(r'"msg": "(.*)"', played.output)
    assert found, played.output
    return json.loads(f'"{found[1]}"')


def test_wrong_wishes_are_refused_by_name_all_at_once(site: Site) -> None:
    site.password = "onprem"
    message = refused(
        site,
        guest_cores=1,
        guest_memory=2048,
        site_timezone="Europe/Nowhere",
        windows_vm_disk_size="20G",
        windows_vm_computer_name="a-name-of-sixteen",
        windows_vm_admin_user="Administrator",
        windows_vm_language="English",
        windows_vm_keyboard="azerty",
        windows_vm_product_key="12345",
        windows_vm_gpu_driver_url="https://example.com/driver.zip",
    )
    assert message.startswith("windows-render: ")
    for part in (
        "windows_vm_cores is 1,",
        "windows_vm_memory_mb is 2048,",
        "windows_vm_disk_size is 20G,",
        "windows_vm_time_zone (Europe/Nowhere) is neither",
        "windows_vm_computer_name (a-name-of-sixteen) is no name",
        "windows_vm_admin_user (Administrator) is no name",
        "windows_vm_language (English)",
        "windows_vm_keyboard (azerty)",
        "gpu-driver has no SHA-256",
        "gpu-driver is not at an http or https URL",
        "windows_vm_admin_password has fewer than 12 characters",
        "windows_vm_admin_password has fewer than three kinds",
        "windows_vm_product_key is not five groups",
    ):
        assert part in message
    assert "12345" not in message


def test_storage_discs_and_disks_are_checked(site: Site) -> None:
    site.forget("virtio-win.iso")
    disks = {"scsi": {"scsi1": "local-lvm:vm-7-disk-0"}, "ide": {"ide2": "none,media=cdrom"}}
    message = refused(site, windows_vm_medium_storage="local-lvm", guest_config=disks)
    assert "windows_vm_medium_storage (local-lvm) is no directory storage that holds ISO images" in message
    assert "local:iso/virtio-win.iso is not on pve1: upload" in message
    assert "windows-11.iso is not" not in message
    assert "has scsi1, and the installation wipes a disk" in message


def test_card_that_the_node_does_not_have_is_refused(site: Site) -> None:
    assert refused(site, windows_vm_gpu="10de:9999").startswith("This machine has no device 10de:9999. Its graphics")


def test_card_that_shares_its_group_is_refused(site: Site) -> None:
    site.kernel.add("00:01.1/01:00.2 010802 144d:a80c 144d:a801 13 nvme")
    message = refused(site)
    assert "pve1 cannot hand over windows_vm_gpu (10de:2684): " in message
    assert "0000:01:00.2" in message


def test_card_that_the_node_uses_itself_is_refused_or_waited_for(site: Site) -> None:
    """One after the other: what nobody has set apart, what waits for the reboot, and what is there after it."""

    def written() -> list[str]:
        return [change.path.rpartition("/")[2] for change in site.api.changes() if "/qemu" in change.path]

    site.kernel.bind("0000:01:00.0", "nouveau")
    message = refused(site)
    assert "pve1 still uses windows_vm_gpu (10de:2684) itself: set it apart with the role gpu_passthrough" in message

    site.kernel.write("etc/modprobe.d/onprem-gpu-passthrough.conf", "# Device: 0000:01:00.0 10de:2684\n")
    site.inventory()
    said = " ".join(site.done().output.split())
    assert "windows-render: pve1 hands over windows_vm_gpu (10de:2684) after a reboot" in said
    assert site.config["hostpci0"] == "mapping=rtx4090,pcie=1,x-vga=1"
    assert written() == ["qemu"]
    # It is started by a run that may reboot the node, as check mode says, and not by another one.
    assert site.done("--check", "-e", "host_reboot_allowed=true").changed == [
        "onprem.cloud.guest : Create, change and start the guests"
    ]
    assert site.done().changed == []

    site.set_apart()
    site.done()
    assert written() == ["start", "sendkey", "sendkey"]
