"""Runs every case, one line each, and counts."""

import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from suite.cases import (
    asking, certificates, command_line, conformance, everything, filesystem, inspector, metrics, modern, over_http, service,
    sessions, upstream)
from suite.world import Failed, World

THEMES = [
    certificates, command_line, inspector, everything, asking, filesystem, modern, sessions, upstream, over_http, conformance,
    service, metrics]


def attempt(work):
    """The reason why a case failed, or None."""
    try:
        return work()
    except Failed as failure:
        return str(failure)
    except Exception:  # a fault of the suite or of a peer: say where, and go on with the next case
        return traceback.format_exc(limit=-2).strip()


def main(words, keep):
    # What was started has to be ended also when the suite itself is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="vouchsafe-interop-"))
    passed = failed = 0
    with World(folder, keep) as world:
        for title, work in (case for theme in THEMES for case in theme.cases(world)):
            if words and not any(word in title for word in words):
                continue
            began = time.monotonic()
            reason = attempt(work)
            took = f"{time.monotonic() - began:.1f} s"
            if reason is None:
                passed += 1
                print(f"ok    {title} ({took})", flush=True)
            else:
                failed += 1
                print(f"FAIL  {title} ({took}): " + reason.replace("\n", "\n      "), flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


sys.exit(main([word for word in sys.argv[1:] if word != "--keep"], "--keep" in sys.argv))
