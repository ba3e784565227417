#!/usr/bin/env python3
"""Takes out of x509-limbo's limbo.json what the test reads: `extract.py LIMBO.JSON > cases.json`.

Left out are the cases of bettertls (9,572; name constraints and paths, as in the other groups), those from the web
(their keys are nobody's here) and the three that are long for length's sake; of the others the keys, and the words.
The whole file can be judged as well: `VOUCHSAFE_LIMBO=LIMBO.JSON cargo test -p vouchsafe-transport limbo`.
"""

import json
import sys

KEPT = ("id", "features", "validation_kind", "trusted_certs", "untrusted_intermediates", "peer_certificate",
        "validation_time", "expected_result", "expected_peer_name", "crls")


def is_kept(case):
    return not case["id"].startswith(("bettertls::", "online::")) and "denial-of-service" not in case["features"]


def without_line_ends(pem):
    """A PEM text as the base64 in it."""
    return "".join(line for line in pem.splitlines() if not line.startswith("-----"))


def compact(case):
    kept = {key: case[key] for key in KEPT if case[key]}
    for key in ("trusted_certs", "untrusted_intermediates", "crls"):
        if key in kept:
            kept[key] = [without_line_ends(pem) for pem in kept[key]]
    kept["peer_certificate"] = without_line_ends(kept["peer_certificate"])
    return kept


with open(sys.argv[1]) as file:
    cases = [compact(case) for case in json.load(file)["testcases"] if is_kept(case)]
# One case to a line, so that a newer version shows what is new.
print('{"version":1,"testcases":[')
print(",\n".join(json.dumps(case, separators=(",", ":")) for case in cases))
print("]}")
