"""Keys, certificates and chains as files, by Python's cryptography.

usage: CA=folder cryptography_files.py COUNT PROCESSES
"""

import datetime
import multiprocessing
import os
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PEM = serialization.Encoding.PEM


def make(numbers):
    ca = pathlib.Path(os.environ["CA"])
    signer = serialization.load_pem_private_key((ca / "key.pem").read_bytes(), None)
    issuer = x509.load_pem_x509_certificate((ca / "cert.pem").read_bytes())
    chain = (ca / "chain.pem").read_bytes()
    constraints = x509.BasicConstraints(ca=False, path_length=None)
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
    begin = datetime.datetime.now(datetime.timezone.utc)
    end = begin + datetime.timedelta(days=30)
    for number in numbers:
        name = f"device-{number}"
        key = ec.generate_private_key(ec.SECP256R1())
        public_key = key.public_key()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(issuer.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(constraints, critical=True)
            .add_extension(usage, critical=True)
            .add_extension(purposes, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(authority_key, critical=False)
            .sign(signer, hashes.SHA256())
        )
        secret = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        pem = certificate.public_bytes(PEM)
        pathlib.Path(f"{name}.key.pem").write_bytes(secret)
        pathlib.Path(f"{name}.cert.pem").write_bytes(pem)
        pathlib.Path(f"{name}.chain.pem").write_bytes(pem + chain)


if __name__ == "__main__":
    count, processes = int(sys.argv[1]), int(sys.argv[2])
    lines = [
        multiprocessing.Process(target=make, args=(range(first, count + 1, processes),))
        for first in range(1, processes + 1)
    ]
    for line in lines:
        line.start()
    for line in lines:
        line.join()
    sys.exit(any(line.exitcode for line in lines))
