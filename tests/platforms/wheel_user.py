"""A user's program. Prints its token, the file of its package, and the library and the libc that it has."""

import re
from pathlib import Path

import paymentsgate_auth

with paymentsgate_auth.Session.from_env() as session:
    token = session.token(timeout=60)
    assert session.request("GET", "/wallet").status == 200
    print("token", token.fingerprint, round(token.remaining), "s left")
print(paymentsgate_auth.__file__)
files = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line}
print(*sorted(file for file in files if re.search(r"paymentsgate_auth|/libc\.|/ld-", file)), sep="\n")
