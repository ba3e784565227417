"""Runs every case, one line each, and counts."""

import signal
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from suite.cases import (
    asking, certificates, command_line, conformance, everything, filesystem, fronted, inspector, metrics, modern, over_http,
    service, sessions, upstream)
from suite.world import Failed, World

THEMES = [
    certificates, command_line, inspector, everything, asking, filesystem, modern, sessions, upstream, over_http, fronted, conformance,
    service, metrics]


def attempt(work):
    """The reason why a case failed, or None, and how long that took."""
    began = time.monotonic()
    try:
        reason = work()
    except Failed as failure:
        reason = str(failure)
    except Exception:  # a fault of the suite or of a peer: say where, and go on with the next case
        reason = traceback.format_exc(limit=-2).strip()
    return reason, f"{time.monotonic() - began:.1f} s"


def outcomes(world, words):
    """Of every case that is wanted the title and what `attempt` says, in order; a theme that allows it runs several at once."""
    for theme in THEMES:
        cases = [case for case in theme.cases(world) if not words or any(word in case[0] for word in words)]
        with ThreadPoolExecutor(getattr(theme, "AT_ONCE", 1)) as pool:
            yield from zip((title for title, _ in cases), pool.map(attempt, (work for _, work in cases)))


def main(words, keep):
    # What was started has to be ended also when the suite itself is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="vouchsafe-interop-"))
    passed = failed = 0
    with World(folder, keep) as world:
        for title, (reason, took) in outcomes(world, words):
            if reason is None:
                passed += 1
                print(f"ok    {title} ({took})", flush=True)
            else:
                failed += 1
                print(f"FAIL  {title} ({took}): " + reason.replace("\n", "\n      "), flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


sys.exit(main([word for word in sys.argv[1:] if word != "--keep"], "--keep" in sys.argv))
