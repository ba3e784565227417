"""Counts what `tests/coverage` has found: per crate, and the files of which most is not reached."""

import json
import re
import sys
from collections import Counter
from pathlib import Path

KINDS = ["lines", "regions", "functions"]
out, here = Path(sys.argv[1]), Path.cwd()
reached: dict[str, dict[tuple, bool]] = {kind: {} for kind in KINDS}
ends: dict[str, int] = {}


def note(kind: str, file: str, line: int, place: object, count: int) -> None:
    """One place, which may have been built and counted many times. Tests are not the product, and stand last."""
    if file not in ends:
        texts = enumerate(Path(file).read_text().splitlines(), 1)
        ends[file] = next((number for number, text in texts if re.match(r"(pub\(crate\) )?mod tests \{", text)), 10**9)
    if line < ends[file]:
        name = str(Path(file).relative_to(here))
        reached[kind][name, place] = reached[kind].get((name, place), False) or count > 0


files = set()
for text in (out / "lcov.info").read_text().splitlines():
    if text.startswith("SF:"):
        files.add(file := text[3:])
    elif text.startswith("DA:"):
        line, count = map(int, text[3:].split(",")[:2])
        note("lines", file, line, line, count)
for function in json.loads((out / "regions.json").read_text())["data"][0]["functions"]:
    for nth, (line, column, *end, count, of, _, kind) in enumerate(function["regions"]):
        file = function["filenames"][of]
        if file in files and kind == 0:
            note("regions", file, line, (line, column, *end), count)
            if nth == 0:
                note("functions", file, line, (line, column), count)

print("".join(f"{title:>24}" for title in ["", *KINDS])[12:])
for crate in ["certs", "ca", "transport", "cli", "all"]:
    row = f"{crate:12}"
    for kind in KINDS:
        own = [is_so for (name, _), is_so in reached[kind].items() if crate in ("all", name.split("/")[0])]
        row += f"{f'{sum(own)}/{len(own)}':>17} {100 * sum(own) / len(own):4.1f} %"
    print(row)
print("\nlines not reached")
missed = Counter(name for (name, _), is_so in reached["lines"].items() if not is_so)
for name, count in missed.most_common(20):
    print(f"{count:5} {name}")
print(f"\n{out}")
