"""`serve --metrics` as Prometheus reads it: by the parsers of its own Python client."""

import re
import urllib.request

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

from suite.world import EVERYTHING, PY, equal, holds


def gateway(world):
    return world.gateway("measured", EVERYTHING, "--metrics", "127.0.0.1:0")


def scrape(world):
    [line] = [line for line in gateway(world).said if "metrics on http://" in line]
    with urllib.request.urlopen(re.search(r"metrics on (\S+/metrics)", line)[1]) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def samples(families):
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families for sample in family.samples}


def call(world):
    outcomes = PY.do(gateway(world).connect(world.agent("scraped", "tools:echo")),
                     {"do": "call", "name": "echo", "with": {"message": "measured"}},
                     {"do": "call", "name": "get-env", "with": {}})
    equal("calls", len(outcomes), 2)


def strict(world):
    """OpenMetrics 1.0: the parser refuses names, units, orders and counts that break the specification."""
    call(world)
    kind, text = scrape(world)
    equal("type", kind, "application/openmetrics-text; version=1.0.0; charset=utf-8")
    families = list(openmetrics.text_string_to_metric_families(text))
    for family in families:
        holds(f"{family.name} is ours and explained", family.name.startswith("vouchsafe_") and family.documentation)
        if family.unit:
            holds(f"{family.name} names its unit", family.name.endswith(f"_{family.unit}"))
    found = samples(families)
    calls = {decision: found["vouchsafe_calls_total", (("decision", decision), ("from", "client"), ("method", "tools/call"))]
             for decision in ("allowed", "denied")}
    equal("calls", calls, {"allowed": 1, "denied": 1})
    call_labels = (("method", "tools/call"),)
    equal("one was answered", found["vouchsafe_answer_duration_seconds_count", call_labels], 1)
    holds("which took time", 0 < found["vouchsafe_answer_duration_seconds_sum", call_labels] < 30)
    holds("the certificate ends", 0 < found["vouchsafe_certificate_remaining_seconds", ()] <= 366 * 86400)
    ages = [value for (name, _), value in found.items() if name == "vouchsafe_revocation_list_age_seconds"]
    equal("one list of each CA", len(ages), 2)
    names = {name for (_, labels) in found for (_, name) in labels}
    holds("no label says who it was", not any("scraped" in name for name in names), names)


def lenient(world):
    """The older text format: whatever does not ask for OpenMetrics still reads the numbers."""
    call(world)
    found = samples(parser.text_string_to_metric_families(scrape(world)[1]))
    holds("sessions", found["vouchsafe_sessions_opened_total", ()] >= 1)


def cases(world):
    yield "metrics: by the parser of OpenMetrics", lambda: strict(world)
    yield "metrics: by the parser of the older text format", lambda: lenient(world)
