"""Python's `cryptography` judges a client's chain: judge.py CHAIN ROOT. Devices have no alternative name."""

import sys

from cryptography import x509
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store

chain = x509.load_pem_x509_certificates(open(sys.argv[1], "rb").read())
root = x509.load_pem_x509_certificate(open(sys.argv[2], "rb").read())

devices = ExtensionPolicy.webpki_defaults_ee().may_be_present(
    x509.SubjectAlternativeName, Criticality.AGNOSTIC, None
)
verifier = (
    PolicyBuilder()
    .store(Store([root]))
    .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=devices)
    .build_client_verifier()
)
verified = verifier.verify(chain[0], chain[1:])
assert verified.chain[-1] == root
