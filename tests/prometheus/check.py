"""Checks what Prometheus has scraped from an adapter under load.

    check.py PROMETHEUS METRICS [PICTURE]

PROMETHEUS and METRICS are URLs: of Prometheus, and of the adapter's metrics.  PICTURE is where the panels are drawn.
"""

import json
import math
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy/grafana/vllm-grpc-adapter.json").read_text())
DOCUMENT = (ROOT / "docs/TELEMETRY.md").read_text()

# What a test's load moves, each above zero.
MOVED = [
    'grpc_server_handled_total{grpc_code="OK",grpc_method="StreamGenerate"}',
    'grpc_server_handled_total{grpc_code="Internal"}',
    'grpc_server_handled_total{grpc_code="InvalidArgument"}',
    'grpc_server_handled_total{grpc_code=~"Canceled|DeadlineExceeded",grpc_method="StreamGenerate"}',
    'adapter_errors_total{reason="INVALID_REQUEST"}',
    'gen_ai_client_token_usage_sum{gen_ai_token_type="output"}',
    'adapter_finish_reason_total{finish_reason="stop"}',
    'adapter_upstream_up{replica!~".*:1/v1"}',
    'adapter_upstream_attempts_total{replica=~".*:1/v1"}',
    'adapter_upstream_failovers_total{replica=~".*:1/v1"}',
    'adapter_upstream_ejections_total{replica=~".*:1/v1"}',
    "process_cpu_seconds_total",
]
# Only where callers are configured.
ABSENT = ["adapter_caller_calls_total", "adapter_caller_tokens_total"]

passed = failed = 0


def check(name, is_good):
    global passed, failed
    passed, failed = passed + bool(is_good), failed + (not is_good)
    if not is_good:
        print(f"FAILED: {name}")


def ask(path, **parameters):
    url = f"{sys.argv[1]}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)["data"]


def query(expression):
    return ask("query", query=expression)["result"]


def panel_queries(interval="40s"):
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel, target["expr"].replace("$__rate_interval", interval).replace("$instance", ".*")


def draw(path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    end = time.time()
    rows = math.ceil(len(DASHBOARD["panels"]) / 3)
    figure, axes = pyplot.subplots(rows, 3, figsize=(18, 3.2 * rows), layout="constrained")
    places = {panel["id"]: place for panel, place in zip(DASHBOARD["panels"], axes.flat, strict=False)}
    for panel, expression in panel_queries("8s"):
        place = places[panel["id"]]
        place.set_title(f"{panel['title']} ({panel['fieldConfig']['defaults']['unit']})", fontsize=10)
        for series in ask("query_range", query=expression, start=end - 45, end=end, step=1)["result"]:
            times, values = zip(*series["values"], strict=True)
            labels = [value for name, value in series["metric"].items() if name not in ("__name__", "instance", "job")]
            label = " ".join(labels)
            place.plot([at - end for at in times], [float(value) for value in values], label=label or None)
        if place.get_legend_handles_labels()[1]:
            place.legend(fontsize=6)
        place.tick_params(labelsize=7)
        place.grid(alpha=0.3)
    figure.suptitle("vllm-grpc-adapter: the panels of deploy/grafana, over the load of tests/prometheus")
    figure.savefig(path, dpi=70)


with urllib.request.urlopen(sys.argv[2]) as answer:
    text = answer.read()
lint = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
check(f"promtool check metrics: {lint.stdout}{lint.stderr}", lint.returncode == 0)
rules = subprocess.run(["promtool", "check", "rules", ROOT / "deploy/prometheus/alerts.yml"], check=False)
check("promtool check rules", rules.returncode == 0)
for group in ask("rules")["groups"]:
    for rule in group["rules"]:
        check(f"rule {rule['name']}: {rule.get('lastError')}", rule["health"] == "ok")

targets = ask("targets")["activeTargets"]
check(f"the scrape has no error: {targets}", [it["lastError"] for it in targets] == [""])
for expression in MOVED:
    check(f"{expression} moves", any(float(it["value"][1]) > 0 for it in query(f"sum({expression})")))
scraped = set(ask("label/__name__/values"))
documented = {line.split("`")[1] for line in DOCUMENT.splitlines() if line.startswith("| `")}
documented = {name for name in documented if name.startswith(("grpc_", "gen_ai_", "adapter_", "process_"))}
check(f"documented: {documented}", len(documented) > 25)
for name in documented - set(ABSENT):
    check(f"{name} is scraped", name in scraped or f"{name}_count" in scraped)
ours = {name for name in scraped if name.startswith(("grpc_", "gen_ai_", "adapter_", "process_"))}
for name in ours:
    plain = name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
    check(f"{name} is documented", plain in documented)
for panel, expression in panel_queries():
    values = [it["value"][1] for it in query(expression)]
    check(f"{panel['title']}: {expression} gives {values}", any(value != "NaN" for value in values))
for idle in ("adapter_calls_in_flight", "sum(adapter_upstream_in_flight)"):
    # The last scrape may be of the load's last moment.
    until = time.monotonic() + 30
    while [it["value"][1] for it in query(idle)] != ["0"] and time.monotonic() < until:
        time.sleep(0.5)
    check(f"{idle} is 0 after the load", [it["value"][1] for it in query(idle)] == ["0"])
if len(sys.argv) > 3:
    draw(sys.argv[3])
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
