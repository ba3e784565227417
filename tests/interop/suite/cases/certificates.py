"""Certificates and revocation lists, judged by verifiers that nobody here wrote."""

import ipaddress
import re
import shutil
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification

from suite.world import Failed, Home, equal, holds, run


class Identity:
    """An identity directory taken apart the way a verifier wants it, beside the current revocation lists."""

    def __init__(self, home, name):
        self.folder, self.crl = home.folder / name, home.crl
        self.roots = self.folder / "roots.pem"
        self.leaf, *self.issuers = x509.load_pem_x509_certificates((self.folder / "certificate.pem").read_bytes())
        self.issuing = self.write("issuing.pem", self.issuers)

    def write(self, name, parts):
        path = self.folder / name
        path.write_bytes(b"".join(part.public_bytes(Encoding.PEM) for part in parts))
        return path

    def lists(self):
        # The issuing CAs' certificates stand beside the lists.
        lists = re.findall(b"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----\n", self.crl.read_bytes(), re.DOTALL)
        return [x509.load_pem_x509_crl(pem) for pem in lists]


def verdict(program, done):
    return done.returncode == 0, f"{program}: " + (done.stdout + done.stderr).strip()[-300:]


def openssl(identity, server, *depth):
    names = ["-verify_hostname", "localhost", "-verify_ip", "127.0.0.1"]
    return verdict("openssl", run([
        "openssl", "verify", "-x509_strict", *(depth or ["-crl_check"]), "-CRLfile", identity.crl,
        "-purpose", "sslserver" if server else "sslclient", *(names if server else []),
        "-CAfile", identity.roots, "-untrusted", identity.issuing, identity.folder / "certificate.pem"]))


def openssl_all(identity, server):
    return openssl(identity, server, "-crl_check_all")


def certtool(identity, server):
    if not shutil.which("certtool"):
        raise Failed("certtool is missing; install gnutls-bin")
    names = ["--verify-hostname", "localhost"] if server else []
    purpose = "1.3.6.1.5.5.7.3.1" if server else "1.3.6.1.5.5.7.3.2"
    return verdict("certtool", run([
        "certtool", "--verify", "--verify-profile", "medium", "--verify-purpose", purpose, *names,
        "--load-ca-certificate", identity.roots, "--load-crl", identity.crl,
        "--infile", identity.folder / "certificate.pem"]))


def cryptography(identity, server):
    """Its path validation reads no CRLs, so the list is looked up as its users do: signature, then serial."""
    [root] = x509.load_pem_x509_certificates(identity.roots.read_bytes())
    builder = verification.PolicyBuilder().store(verification.Store([root]))
    if server:
        for name in (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))):
            builder.build_server_verifier(name).verify(identity.leaf, identity.issuers)
    else:
        client = builder.build_client_verifier().verify(identity.leaf, identity.issuers)
        equal("the subject", [name.value for name in client.subjects], [f"spiffe://acme.example/{identity.folder.name}"])
    for certificate, issuer in [(identity.leaf, identity.issuers[0]), (identity.issuers[0], root)]:
        [revocations] = [it for it in identity.lists() if it.issuer == issuer.subject]
        holds("the signature of the list", revocations.is_signature_valid(issuer.public_key()))
        if revocations.get_revoked_certificate_by_serial_number(certificate.serial_number):
            return False, "cryptography: revoked"
    return True, "cryptography: valid"


VERIFIERS = {
    "openssl -crl_check": openssl, "openssl -crl_check_all": openssl_all,
    "GnuTLS certtool": certtool, "Python cryptography": cryptography,
}


def issued(world):
    """A CA of its own, since the order matters here: every verdict is asked for before and after a revocation."""
    def make(folder):
        home = Home(folder)
        home.issue("agent", "tools:echo", "resources:demo://resource/static/*")
        home.issue("bystander", "tools:*")
        home.issue("server", "client:sampling/createMessage", server=True)
        return home

    return world.once("verified", make)


def judge(world, verifier, name, expected):
    accepted, words = verifier(Identity(issued(world), name), name == "server")
    equal(f"{name} accepted", accepted, expected)
    if not expected:
        holds("revocation is the reason", "revoked" in words.lower(), words)


def accepts(world, verifier):
    for name in ("agent", "bystander", "server"):
        judge(world, verifier, name, True)


def refuses(world, verifier):
    def make(_):
        issued(world).vouchsafe("revoke", "agent", "--reason", "keyCompromise")
        issued(world).vouchsafe("revoke", "server")

    world.once("verified-revoked", make)
    judge(world, verifier, "agent", False)
    judge(world, verifier, "server", False)
    judge(world, verifier, "bystander", True)


def exported(world):
    """`crl --out` in both encodings: what openssl reads, and the reason that was given."""
    home, pem, der = issued(world), issued(world).folder / "out.pem", issued(world).folder / "out.der"
    home.vouchsafe("crl", "--out", pem)
    home.vouchsafe("crl", "--out", der, "--der")
    identity = Identity(home, "agent")
    for path, form in ((pem, "PEM"), (der, "DER")):
        done = run(["openssl", "crl", "-in", path, "-inform", form, "-noout", "-text"])
        holds(f"openssl reads the {form} list", done.returncode == 0, done.stderr)
    revocations = x509.load_der_x509_crl(Path(der).read_bytes())
    holds("signed by the issuing CA", revocations.is_signature_valid(identity.issuers[0].public_key()))
    entry = revocations.get_revoked_certificate_by_serial_number(identity.leaf.serial_number)
    holds("lists the agent", entry is not None)
    equal("reason", entry.extensions.get_extension_for_class(x509.CRLReason).value.reason, x509.ReasonFlags.key_compromise)


def cases(world):
    for name, verifier in VERIFIERS.items():
        yield f"certificates: {name} accepts", lambda verifier=verifier: accepts(world, verifier)
    for name, verifier in VERIFIERS.items():
        yield f"certificates: {name} refuses what is revoked", lambda verifier=verifier: refuses(world, verifier)
    yield "certificates: exported lists", lambda: exported(world)
