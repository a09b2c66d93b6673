"""Three members of one kind on this machine, as processes of ours."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
QUOTA = 8 << 30


class Member:
    def __init__(self, name, client_port, argv, log, environment):
        self.name = name
        self.client_port = client_port
        self.endpoint = f"127.0.0.1:{client_port}"
        self.argv = argv
        self.log = log
        self.environment = environment
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.argv, stdout=log, stderr=log, env=self.environment)

    def end(self, number):
        """Sends a signal and waits for the end."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(timeout=60)
            self.process = None

    def connect(self):
        """A connection, as soon as the member listens; an OSError before."""
        return socket.create_connection(("127.0.0.1", self.client_port), timeout=1)

    @property
    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def _status(self, field):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise LookupError(field)

    @property
    def resident_bytes(self):
        return self._status("VmRSS")

    @property
    def peak_bytes(self):
        return self._status("VmHWM")

    def reset_peak(self):
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


class Cluster:
    """What differs between the two kinds stands in `etcd` and `martlet` below."""

    def __init__(self, kind, tools, folder, base_port, argv, environment=None):
        self.kind = kind
        self.tools = tools
        self.folder = Path(folder)
        self._recipe = (tools, base_port, argv, environment)
        names = ["n1", "n2", "n3"]
        ports = {name: base_port + 10 * number for number, name in enumerate(names)}
        initial = ",".join(f"{name}=http://127.0.0.1:{port + 1}" for name, port in ports.items())
        self.members = [
            Member(
                name, port, argv + [
                    "--name", name, "--data-dir", str(self.folder / name),
                    "--listen-client-urls", f"http://127.0.0.1:{port}",
                    "--advertise-client-urls", f"http://127.0.0.1:{port}",
                    "--listen-peer-urls", f"http://127.0.0.1:{port + 1}",
                    "--initial-advertise-peer-urls", f"http://127.0.0.1:{port + 1}",
                    "--initial-cluster", initial, "--initial-cluster-state", "new",
                    "--quota-backend-bytes", str(QUOTA),
                ], self.folder / f"{name}.log", dict(os.environ, **(environment or {})))
            for name, port in ports.items()
        ]

    # Life

    @contextmanager
    def twin(self):
        """Another cluster of this kind, empty, for as long as the caller compares the two."""
        tools, base_port, argv, environment = self._recipe
        twin = Cluster(self.kind, tools, self.folder.with_name(self.folder.name + "-twin"),
                       base_port + 50, argv, environment)
        try:
            twin.start_fresh()
            yield twin
        finally:
            twin.kill()

    def start_fresh(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        # What was removed, and what others have left to be written, costs the disk nothing later.
        os.sync()
        self.folder.mkdir(parents=True)
        self.start()

    def start(self):
        for member in self.members:
            if member.process is None:
                member.start()
        for member in self.members:
            self.wait_until_serving(member)

    def wait_until_serving(self, member, seconds=120):
        """Until the member answers a linearizable read. Before it listens nothing but that is asked:
        a client started for each try takes a sixth of the time that the members have for themselves.
        """
        end = time.monotonic() + seconds
        while True:
            try:
                member.connect().close()
                return self.tools.status(member)
            except (OSError, subprocess.CalledProcessError):
                if time.monotonic() > end:
                    raise TimeoutError(f"{self.kind} {member.name} doesn't serve: {member.log}")
                time.sleep(0.005)

    def stop(self):
        for member in self.members:
            member.end(signal.SIGTERM)

    def kill(self):
        for member in self.members:
            if member.process is not None:
                member.process.send_signal(signal.SIGKILL)
        for member in self.members:
            if member.process is not None:
                member.process.wait()
                member.process = None

    # State

    @property
    def leader(self):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            for member in self.members:
                if member.process is not None and self.tools.status(member)["isLeader"]:
                    return member
            time.sleep(0.05)
        raise TimeoutError(f"{self.kind} has no leader")

    @property
    def follower(self):
        leader = self.leader
        return next(member for member in self.members if member is not leader)

    @property
    def cpu_seconds(self):
        return sum(m.cpu_seconds for m in self.members if m.process is not None)

    def revision(self, member):
        return self.tools.status(member)["revision"]

    def compact(self):
        """Drops all history, so that each round begins alike."""
        leader = self.leader
        self.tools.etcdctl(leader, "compact", str(self.revision(leader)), "--physical")


def etcd(tools, folder, base_port):
    return Cluster("etcd", tools, folder / "etcd", base_port,
                   [str(tools.venv / "bin/etcd"), "--log-level", "error"])


def martlet(tools, folder, base_port):
    return Cluster("Martlet", tools, folder / "martlet", base_port,
                   [str(tools.kvserver), "--log-level", "warn"],
                   {"SWIFT_BACKTRACE": "enable=yes,symbolicate=off,color=no"})


@contextmanager
def martlet_alone(root, base_port):
    """Three new members, for as long as the caller measures them without etcd."""
    # Whoever ends this ends the members, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    folder = Path(root).resolve() / ".build-compare"
    cluster = martlet(Tools(root, folder / "venv", folder), folder, base_port)
    try:
        cluster.start_fresh()
        yield cluster
    finally:
        cluster.kill()


class Tools:
    """The programs that make the load."""

    def __init__(self, root, venv, folder):
        root = Path(root).resolve()
        self.kvserver = root / ".build-release/kvserver"
        self.kvload = root / ".build/release/kvload"
        self.venv = Path(venv).resolve()
        self.folder = folder
        self.bodies = {}

    def load(self, member, *arguments):
        """One run of kvload; its figures."""
        command = [str(self.kvload), *arguments, "--endpoint", member.endpoint]
        return json.loads(subprocess.run(
            command, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout)

    def begin_load(self, member, *arguments):
        """kvload in the background; `finish_load` waits for its figures."""
        command = [str(self.kvload), *arguments, "--endpoint", member.endpoint]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    @staticmethod
    def finish_load(process):
        output, _ = process.communicate(timeout=600)
        if process.returncode != 0:
            raise RuntimeError(f"{process.args} failed: {output}")
        return json.loads(output.splitlines()[-1])

    def status(self, member):
        return self.load(member, "status")

    def etcdctl(self, member, *arguments):
        subprocess.run(
            [str(self.venv / "bin/etcdctl"), "--endpoints", member.endpoint,
             "--command-timeout", "120s", *arguments],
            check=True, stdout=subprocess.DEVNULL, env=dict(os.environ, ETCDCTL_API="3"))

    def body(self, work, *arguments):
        """The file with a request for h2load."""
        key = (work, *arguments)
        if key not in self.bodies:
            file = self.folder / ("body-" + "-".join(key).replace("--", ""))
            subprocess.run([str(self.kvload), "body", work, str(file), *arguments], check=True)
            self.bodies[key] = file
        return self.bodies[key]
