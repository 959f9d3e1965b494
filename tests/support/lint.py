"""pkilint judges files: lint.py FILE... Names that end in .crl are CRLs. Says which it objects to, and why."""

import sys

from pkilint.bin import lint_crl, lint_pkix_cert

objections = 0
for file in sys.argv[1:]:
    if file.endswith(".crl"):
        found = lint_crl.main(["lint", "-t", "CRL", "-p", "PKIX", "-s", "WARNING", "-f", "TEXT", file])
    else:
        found = lint_pkix_cert.main(["lint", "-s", "WARNING", "-f", "TEXT", file])
    if found:
        print(f"^ {found} in {file}")
        objections += 1
print(f"{len(sys.argv) - 1} judged, {objections} objected to")
