"""The processes of a test: adapters, a simulated vLLM, and Envoys that run the files of deploy/envoy."""

import contextlib
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, happened, seconds=60):
    """Waits for a condition, and says which did not come."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen within {seconds} s")
        time.sleep(0.05)


def accepts(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Process:
    """A child whose output goes to a file, without this environment."""

    def __init__(self, name, folder, *command):
        self.log = folder / f"{name}.log"
        self.name = name
        with self.log.open("ab") as output:
            self.child = subprocess.Popen(
                command, cwd=folder, env={}, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def serving(self, port):
        def up():
            if self.child.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.child.returncode}:\n{self.log.read_text()[-2000:]}")
            return accepts(port)

        until(f"{self.name} at its port", up)
        return self

    def terminate(self):
        self.child.send_signal(signal.SIGTERM)

    def ended(self, seconds=90):
        return self.child.wait(seconds)

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()


class Adapter(Process):
    """An adapter. Its port stays when it is started again, and its log goes on."""

    def __init__(self, program, name, folder, upstream, *options, port=None, drain_delay="3s"):
        self.port = port or free_port()
        super().__init__(
            name, folder, program, "--listen", f"127.0.0.1:{self.port}", "--upstream", upstream, "--log-json",
            "--drain-delay", drain_delay, "--drain-timeout", "60s", *options,
        )  # fmt: skip
        self.serving(self.port)

    def calls(self):
        """What the log says of each generation that has ended."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [it for it in lines if it.get("message") == "call" and it["method"].endswith("Generate")]


class Upstream(Process):
    """The simulated vLLM of a demo."""

    def __init__(self, program, folder):
        port = free_port()
        super().__init__(
            "demo", folder, program, "demo", "--listen", f"127.0.0.1:{port}", "--web-listen", f"127.0.0.1:{free_port()}"
        )
        self.serving(port)
        until("the demo's upstream", lambda: self.url)

    @property
    def url(self):
        found = re.search(r"http://127\.0\.0\.1:\d+/v1", self.log.read_text())
        return found and found[0]


class Envoy(Process):
    """Envoy with a file of deploy/envoy, whose addresses are replaced: the hosts are those of `ports`."""

    def __init__(self, name, folder, file, ports, port=None, policy=None):
        self.port = port or free_port()
        self.admin = free_port()
        config = yaml.safe_load((ROOT / "deploy/envoy" / file).read_text())
        config["admin"]["address"]["socket_address"]["port_value"] = self.admin
        resources = config["static_resources"]
        resources["listeners"][0]["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": self.port}
        resources["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
            {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": it}}}} for it in ports
        ]
        if policy:
            del resources["clusters"][0]["lb_policy"]
            resources["clusters"][0] |= yaml.safe_load((ROOT / "deploy/envoy" / policy).read_text())
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config))
        # Beside this Python, or on the path.
        program = shutil.which("envoy", path=str(Path(sys.executable).parent)) or shutil.which("envoy")
        super().__init__(
            name, folder, program, "--config-path", str(path), "--disable-hot-restart", "--concurrency", "1",
            "--log-level", "warn", "--drain-time-s", "3",
        )  # fmt: skip
        self.serving(self.port)
        until(f"hosts of {name}", lambda: self.stats()["membership_healthy"] == len(ports))

    def ask(self, method, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        connection.request(method, path)
        return connection.getresponse().read()

    def stats(self):
        """Counters and gauges of the one cluster, by their names without its prefix."""
        found = json.loads(self.ask("GET", "/stats?format=json&filter=^cluster.adapter."))["stats"]
        return {it["name"].removeprefix("cluster.adapter."): it["value"] for it in found if "value" in it}

    def of_hosts(self):
        """The requests and the weight of each host, by its port."""
        found = json.loads(self.ask("GET", "/clusters?format=json"))["cluster_statuses"][0]["host_statuses"]
        told = {}
        for host in found:
            requests = next(int(it.get("value", 0)) for it in host["stats"] if it.get("name") == "rq_total")
            told[host["address"]["socket_address"]["port_value"]] = requests, host["weight"]
        return told

    def drain(self):
        """Sends GOAWAY, waits until nothing runs, and ends it: what a sidecar does after its adapter has ended."""
        self.ask("POST", "/healthcheck/fail")
        self.ask("POST", "/drain_listeners?graceful&skip_exit")
        until(f"{self.name} to be idle", lambda: self.stats()["upstream_rq_active"] == 0)
        self.ask("POST", "/quitquitquit")
        self.ended()
