# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Issue the certificates of this host, and renew them in time.

They are signed by the host's own issuer, which the site's authority has bound to the names of this host. So nobody has
to be asked for a renewal, and no other host's names can be had with what is kept here.
"""

from __future__ import annotations

import argparse
import datetime
import ipaddress
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

UTC = datetime.timezone.utc
DIRECTORY = Path("/etc/onprem/tls")
# What services have not loaded yet, which a restart of the machine makes up for.
MARKERS = Path("/run/onprem-certificates")
PURPOSES = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


def end(certificate: x509.Certificate) -> datetime.datetime:
    # Debian 12 has a cryptography without the property that says the time zone.
    if hasattr(certificate, "not_valid_after_utc"):
        return certificate.not_valid_after_utc
    return certificate.not_valid_after.replace(tzinfo=UTC)


def alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def public(key: Any) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def replace(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.chmod(0o644)
    new.replace(path)


class Host:
    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.now = datetime.datetime.now(UTC)
        self.issuer_text = (DIRECTORY / "issuer.crt").read_text()
        self.issuer = x509.load_pem_x509_certificate(self.issuer_text.encode())

    def path(self, entry: dict[str, Any], suffix: str) -> Path:
        return DIRECTORY / f"{entry['name']}.{suffix}"

    def names(self, entry: dict[str, Any]) -> list[x509.GeneralName]:
        return [alternative(name) for name in dict.fromkeys([entry["common_name"], *entry["alt_names"]])]

    def key(self, entry: dict[str, Any]) -> Any:
        return serialization.load_pem_private_key(self.path(entry, "key").read_bytes(), password=None)

    def due(self, entry: dict[str, Any]) -> str:
        """Why a new certificate is needed, or nothing."""
        path = self.path(entry, "crt")
        try:
            text = path.read_text()
            certificate = x509.load_pem_x509_certificate(text.encode())
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except FileNotFoundError:
            return "there is none yet"
        except (ValueError, x509.ExtensionNotFound):
            return "the file holds none of ours"
        if not text.endswith(self.issuer_text):
            return "it has another issuer"
        if set(names) != set(self.names(entry)):
            return "its names are others"
        if public(certificate.public_key()) != public(self.key(entry).public_key()):
            return "its key is another"
        days = (end(certificate) - self.now).total_seconds() / 86400
        if days < self.settings["renewal_days"]:
            return f"it ends in {days:.0f} days"
        return ""

    def issue(self, entry: dict[str, Any]) -> None:
        if end(self.issuer) < self.now + datetime.timedelta(days=self.settings["renewal_days"]):
            last = f"{end(self.issuer):%Y-%m-%d}"
            sys.exit(f"{entry['name']}: the issuer of this host ends on {last}; run the playbook, which renews it")
        key = self.key(entry).public_key()
        signer = serialization.load_pem_private_key((DIRECTORY / "issuer.key").read_bytes(), password=None)
        identifier = self.issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, entry["common_name"])]))
            .issuer_name(self.issuer.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            # Clocks of guests are never quite the same.
            .not_valid_before(self.now - datetime.timedelta(minutes=5))
            .not_valid_after(min(end(self.issuer), self.now + datetime.timedelta(days=self.settings["validity_days"])))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=False,
                    crl_sign=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(x509.ExtendedKeyUsage(PURPOSES), critical=False)
            .add_extension(x509.SubjectAlternativeName(self.names(entry)), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
            .sign(signer, hashes.SHA256())
        )
        text = certificate.public_bytes(serialization.Encoding.PEM).decode() + self.issuer_text
        # What clients would refuse never replaces what they accept.
        checked = subprocess.run(
            ["openssl", "verify", "-CAfile", DIRECTORY / "ca.crt", "-untrusted", DIRECTORY / "issuer.crt"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        if checked.returncode:
            sys.exit(f"{entry['name']}: clients would refuse the new certificate: {checked.stderr.strip()}")
        if entry["renewed"]:
            MARKERS.mkdir(exist_ok=True)
            (MARKERS / entry["name"]).touch()
        replace(self.path(entry, "crt"), text)

    def reload(self) -> list[str]:
        """Have the services load what was issued since they started. A restart of the machine does it as well."""
        failed = []
        for entry in self.settings["certificates"]:
            marker = MARKERS / entry["name"]
            if not marker.exists():
                continue
            done = subprocess.run(shlex.split(entry["renewed"]), capture_output=True, text=True, check=False)
            if done.returncode:
                failed.append(f"{entry['name']}: {entry['renewed']}: {done.stderr.strip()}")
            else:
                marker.unlink()
        return failed

    def report(self) -> None:
        """Tell the monitoring how long everything is valid."""
        metrics = Path(self.settings["metrics_directory"])
        if not metrics.is_dir():
            return
        figure = "onprem_certificate_not_after_timestamp_seconds"
        lines = [f"# HELP {figure} End of a certificate.", f"# TYPE {figure} gauge"]
        for name in ["ca", "issuer", *(entry["name"] for entry in self.settings["certificates"])]:
            certificate = x509.load_pem_x509_certificate((DIRECTORY / f"{name}.crt").read_bytes())
            lines.append(f'{figure}{{name="{name}"}} {end(certificate).timestamp():.0f}')
        replace(metrics / "onprem_certificates.prom", "\n".join([*lines, ""]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Issue the certificates of this host, and renew them in time.")
    parser.add_argument("--check", action="store_true", help="only say what is due")
    parser.add_argument("--no-reload", action="store_true", help="leave it to the timer to tell the services")
    parser.add_argument("settings", type=argparse.FileType(), help="a file of JSON, or - for the standard input")
    options = parser.parse_args()
    host = Host(json.load(options.settings))
    for entry in host.settings["certificates"]:
        reason = host.due(entry)
        if reason:
            print(f"{entry['name']}: {reason}")
            if not options.check:
                host.issue(entry)
    if options.check:
        return
    host.report()
    if not options.no_reload:
        failed = host.reload()
        if failed:
            sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
