"""The CA as a service, asked by programs that nobody here wrote: EST by strongSwan's pki and by curl with OpenSSL, OCSP by
OpenSSL and Python cryptography."""

import base64
import http.client
import os
import re
import ssl
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509 import ocsp

from suite.world import PATIENCE, Failed, Home, end, equal, holds, run, start, succeed

PREFIX = "vouchsafe-invitation-1."


class Service:
    """`vouchsafe ca` over a home of its own."""

    def __init__(self, folder):
        self.folder, self.home = folder, Home(folder)
        self.root = folder / "home/root.pem"
        self.operator = folder / "home/operator"
        serve = self.home.command("ca", "--listen", "127.0.0.1:0", "--public", "127.0.0.1:0")
        with open(folder / "ca.log", "w") as log:
            self.process = start(serve, stderr=log)
        self.ports, waited = {}, threading.Event()
        for _ in range(int(PATIENCE * 20)):
            said = (folder / "ca.log").read_text()
            self.ports = {who: port for port, who in re.findall(r"listening on 127\.0\.0\.1:(\d+) for (\w+)", said)}
            if len(self.ports) == 2:
                break
            waited.wait(0.05)
        else:
            end(self.process)
            raise Failed("the CA did not start:\n" + (folder / "ca.log").read_text()[-600:])
        self.public = f"https://localhost:{self.ports['everybody']}"
        self.mutual = f"https://localhost:{self.ports['operators']}"

    def ask(self, *arguments):
        remote = ["--ca", f"localhost:{self.ports['operators']}", "--identity", self.operator]
        return self.home.vouchsafe(*arguments, *remote)

    def invite(self, name):
        """What HTTP Basic authentication shows: the invitation's id and its secret."""
        said = self.ask("invite", name, "--allow", "tools:search", "--address", f"localhost:{self.ports['everybody']}")
        [line] = [word for word in said.split() if word.startswith(PREFIX)]
        encoded = line.removeprefix(PREFIX)
        fields = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode().split("\n")
        return f"{fields[2]}:{fields[3]}"

    def curl(self, url, *options):
        return succeed(["curl", "--silent", "--show-error", "--fail-with-body", "--cacert", self.root, *options, url])

    def certificates(self, bag):
        return pkcs7.load_der_pkcs7_certificates(base64.b64decode(bag))

    def issuing(self):
        path = self.folder / "issuing.pem"
        path.write_text(self.curl(f"{self.public}/issuers.pem"))
        return path


def service(world):
    def make(folder):
        made = Service(folder)
        world.running.append(made)
        return made

    return world.once("service", make)


def name_of(certificate):
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def request_of(ca, name):
    """A key and a PKCS#10 request in base64, made by OpenSSL."""
    key, der = ca.folder / f"{name}.key", ca.folder / f"{name}.csr"
    succeed(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-subj", "/CN=somebody else", "-keyout", key, "-outform", "DER", "-out", der])
    body = ca.folder / f"{name}.b64"
    body.write_bytes(base64.encodebytes(der.read_bytes()))
    return key, body


def est_with_curl(world):
    ca = service(world)
    authorities = ca.certificates(ca.curl(f"{ca.public}/.well-known/est/cacerts"))
    equal("the CAs", len(authorities), 2)
    attributes = base64.b64decode(ca.curl(f"{ca.public}/.well-known/est/csrattrs"))
    holds("the attributes are a sequence", attributes[0] == 0x30, attributes)
    key, body = request_of(ca, "curl")
    credential = ca.invite("curl")
    post = ["--header", "content-type: application/pkcs10", "--data-binary", f"@{body}"]
    enroll = lambda: ca.curl(f"{ca.public}/.well-known/est/simpleenroll", "--user", credential, *post)
    [leaf] = ca.certificates(enroll())
    equal("the name is the CA's choice", name_of(leaf), ["spiffe://acme.example/curl"])
    equal("the same request again", ca.certificates(enroll())[0].serial_number, leaf.serial_number)
    # A client of TLS shows the issuing CA's certificate along with its own.
    chain = ca.folder / "curl.pem"
    chain.write_bytes(leaf.public_bytes(Encoding.PEM) + ca.issuing().read_bytes())
    reenroll = ["--cert", chain, "--key", key, *post]
    [renewed] = ca.certificates(ca.curl(f"{ca.mutual}/.well-known/est/simplereenroll", *reenroll))
    equal("the renewed name", name_of(renewed), name_of(leaf))
    holds("another certificate", renewed.serial_number != leaf.serial_number)
    succeed(["openssl", "verify", "-x509_strict", "-CAfile", ca.root, "-untrusted", ca.issuing(), chain])
    # The invitation has been used: another key gets nothing, and hears why.
    _, other = request_of(ca, "other")
    refused = run(["curl", "--silent", "--cacert", ca.root, "--user", credential, "--write-out", "%{http_code}",
                   "--header", "content-type: application/pkcs10", "--data-binary", f"@{other}",
                   f"{ca.public}/.well-known/est/simpleenroll"])
    holds("a replayed invitation", "used once" in refused.stdout and refused.stdout.endswith("403"), refused.stdout)


def pki(ca, *arguments):
    config = ca.folder / "strongswan.conf"
    config.write_text("libtls {\n  version_max = 1.3\n}\n")
    return succeed(["pki", *arguments], env={**os.environ, "STRONGSWAN_CONF": str(config)})


def est_with_strongswan(world):
    ca = service(world)
    made = lambda name: ca.folder / f"strongswan-{name}"
    pki(ca, "--estca", "--url", ca.public, "--cacert", ca.root, "--caout", made("ca"), "--outform", "pem")
    fetched = {path.read_bytes() for path in (made("ca.pem"), made("ca-1.pem"))}
    holds("it trusts the CAs it fetched", len(fetched) == 2)
    trusted = ["--cacert", ca.root, "--cacert", ca.issuing(), "--outform", "pem"]
    shown = []
    for generation, url in enumerate([ca.public, ca.mutual]):
        key, csr, certificate = (made(f"{generation}.{kind}") for kind in ("key", "csr", "pem"))
        key.write_text(pki(ca, "--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem"))
        made_request = ["pki", "--req", "--type", "ecdsa", "--in", key, "--dn", "CN=somebody else", "--outform", "der"]
        succeed(["sh", "-c", 'out=$1; shift; "$@" > "$out"', "sh", csr, *made_request])
        by = ["--cert", shown[-1], "--key", made("0.key")] if shown else ["--userpass", ca.invite("strongswan")]
        certificate.write_text(pki(ca, "--est", "--url", url, "--in", csr, *trusted, *by))
        shown.append(certificate)
    first, second = (x509.load_pem_x509_certificate(path.read_bytes()) for path in shown)
    equal("the name", name_of(first), ["spiffe://acme.example/strongswan"])
    equal("the renewed name", name_of(second), name_of(first))
    holds("another key", first.public_key() != second.public_key())


def issued(ca, name):
    ca.ask("issue", name, "--out", ca.folder / name)
    return x509.load_pem_x509_certificate((ca.folder / name / "certificate.pem").read_bytes())


def ocsp_with_openssl(world):
    ca = service(world)
    leaf = issued(ca, "asked")
    question, answer = ca.folder / "question.der", ca.folder / "answer.der"
    one = ca.folder / "asked.pem"
    one.write_bytes(leaf.public_bytes(Encoding.PEM))

    def status():
        succeed(["openssl", "ocsp", "-issuer", ca.issuing(), "-cert", one, "-nonce", "-reqout", question])
        ca.curl(f"{ca.public}/ocsp", "--header", "content-type: application/ocsp-request",
                "--data-binary", f"@{question}", "--output", answer)
        done = run(["openssl", "ocsp", "-reqin", question, "-respin", answer, "-issuer", ca.issuing(),
                    "-CAfile", ca.root, "-verify_other", ca.issuing(), "-resp_text"])
        holds("OpenSSL trusts the answer", "Response verify OK" in done.stdout + done.stderr, done.stderr)
        return re.search(r"Cert Status: (\w+)", done.stdout)[1]

    equal("before", status(), "good")
    ca.ask("revoke", "asked", "--reason", "keyCompromise")
    equal("after", status(), "revoked")


def ocsp_with_cryptography(world):
    """By GET, as RFC 5019 has it, with SHA-256 for the names, and the signatures checked by hand."""
    ca = service(world)
    leaf = issued(ca, "got")
    issuing = x509.load_pem_x509_certificate(ca.issuing().read_bytes())
    nonce = os.urandom(32)
    builder = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuing, hashes.SHA256())
    builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    question = base64.b64encode(builder.build().public_bytes(Encoding.DER)).decode().replace("/", "%2F").replace("+", "%2B")

    def answer():
        connection = http.client.HTTPSConnection(
            "localhost", int(ca.ports["everybody"]), context=ssl.create_default_context(cafile=str(ca.root)), timeout=PATIENCE)
        connection.request("GET", f"/ocsp/{question}")
        response = connection.getresponse()
        equal("the type", response.getheader("content-type"), "application/ocsp-response")
        return ocsp.load_der_ocsp_response(response.read())

    def check(response, status):
        equal("it answers", response.response_status, ocsp.OCSPResponseStatus.SUCCESSFUL)
        equal("the state", response.certificate_status, status)
        equal("the serial number", response.serial_number, leaf.serial_number)
        equal("the nonce", response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce, nonce)
        [responder] = response.certificates
        responder.verify_directly_issued_by(issuing)
        usage = responder.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        equal("the responder's usage", [oid.dotted_string for oid in usage], ["1.3.6.1.5.5.7.3.9"])
        responder.extensions.get_extension_for_class(x509.OCSPNoCheck)
        responder.public_key().verify(response.signature, response.tbs_response_bytes,
                                      ec.ECDSA(response.signature_hash_algorithm))
        holds("it lives for hours", (responder.not_valid_after_utc - responder.not_valid_before_utc).total_seconds() <= 90_000)

    check(answer(), ocsp.OCSPCertStatus.GOOD)
    ca.ask("revoke", "got", "--reason", "superseded")
    revoked = answer()
    check(revoked, ocsp.OCSPCertStatus.REVOKED)
    equal("the reason", revoked.revocation_reason, x509.ReasonFlags.superseded)


def cases(world):
    yield "EST with curl and OpenSSL: enrol, renew, replay", lambda: est_with_curl(world)
    yield "EST with strongSwan's pki: CAs, enrol, renew", lambda: est_with_strongswan(world)
    yield "OCSP with OpenSSL", lambda: ocsp_with_openssl(world)
    yield "OCSP with Python cryptography, by GET", lambda: ocsp_with_cryptography(world)
