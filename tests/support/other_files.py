"""Files that no tool at hand writes so, made of what OpenSSL wrote: run in the folder of ca.pem and ca.key."""

import base64
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography import x509

key = serialization.load_pem_private_key(Path("ca.key").read_bytes(), None)
certificate = x509.load_pem_x509_certificate(Path("ca.pem").read_bytes())
der = certificate.public_bytes(serialization.Encoding.DER)


def tlv(tag, content):
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def signed(content):
    """A request of these contents, with sha256WithRSAEncryption."""
    algorithm = bytes.fromhex("300d06092a864886f70d01010b0500")
    signature = key.sign(content, padding.PKCS1v15(), hashes.SHA256())
    return tlv(0x30, content + algorithm + tlv(0x03, b"\0" + signature))


public_key = key.public_key().public_bytes(
    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
)
subject = certificate.subject.public_bytes()
Path("no-attributes.csr").write_bytes(
    signed(tlv(0x30, bytes.fromhex("020100") + subject + public_key))
)
pem = Path("ca.pem").read_text()
Path("ca.utf16.pem").write_bytes(pem.encode("utf-16"))
Path("ca.line-feed.der").write_bytes(der + b"\n")
Path("ca.base64").write_text(base64.encodebytes(der).decode())
Path("ca.key.utf16.pem").write_bytes(Path("ca.key").read_text().encode("utf-16"))
