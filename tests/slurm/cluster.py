"""A real Slurm of three nodes on this machine, for the tests: started in a folder, gone with the block.

    with Cluster(folder) as cluster: ...       SLURM_CONF is set meanwhile
    python tests/slurm/cluster.py FOLDER       to try it by hand; Ctrl-C ends it
    python tests/slurm/cluster.py              whether it can be started here, and what is missing

It needs Debian's slurm-wlm and munge, and root, who starts everything: munged, slurmctld and a slurmd for each node,
all in the foreground, so that they are children of this process and end with it. The nodes are this host under three
ports; jobs make room for others on n3 alone. Where the host's name is 127.0.0.1 nothing listens beyond this machine;
where it is another address, or none, as in a container, the daemons listen everywhere, to those alone who have the key
of their munged, which is drawn anew.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

CONF = """
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
{here}
AuthType=auth/munge
# a job that is queued again waits for as long as its credential lives
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=100000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=20
MinJobAge=3000
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName=n[1-3] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports}] CPUs=4 RealMemory=8000 Gres=gpu:2
PartitionName=debug Nodes=n[1-2] Default=YES MaxTime=60 State=UP
PartitionName=low Nodes=n3 MaxTime=60 State=UP PriorityTier=1 PreemptMode=CANCEL GraceTime=2
PartitionName=patient Nodes=n3 MaxTime=60 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
PartitionName=urgent Nodes=n3 MaxTime=60 State=UP PriorityTier=2
"""


NODES = ("n1", "n2", "n3")


def missing() -> str | None:
    """Return what this machine lacks, None where a cluster can be started."""
    if lacks := [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]:
        return f"no {lacks[0]}: apt-get install slurm-wlm munge"
    return None if os.getuid() == 0 else "it is started by root"


class Cluster:
    """Slurm, while the block runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.conf = self.folder / "slurm.conf"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.before = os.environ.get("SLURM_CONF")

    def __enter__(self) -> "Cluster":
        try:
            self._start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def _start(self) -> None:
        host = socket.gethostname().split(".")[0]
        munge = self.folder / "munge"
        munge.mkdir(parents=True, mode=0o755)
        for name in ("state", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        (munge / "key").write_bytes(os.urandom(1024))
        (munge / "key").chmod(0o600)
        first = _free_ports(len(NODES) + 1)
        ports, controller = f"{first}-{first + len(NODES) - 1}", first + len(NODES)
        here = "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny" if _is_here(host) else ""
        text = CONF.format(folder=self.folder, host=host, here=here, controller=controller, ports=ports)
        self.conf.write_text(text)
        # what Slurm hands out as a GPU must be a device, and is harmless
        (self.folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
        # nothing asks for cgroups, but slurmd 22.05 looks for them, and for systemd, unless it is told which
        (self.folder / "cgroup.conf").write_text(f"CgroupPlugin={'cgroup/v1' if _version() < 23 else 'disabled'}\n")
        os.environ["SLURM_CONF"] = str(self.conf)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self.run("munged", "--foreground", "--force", *(f"--{name}={munge / file}" for name, file in files.items()))
        self.wait(lambda: (munge / "socket").exists(), "munged")
        self.start_controller("-c")
        for node in NODES:
            self.run("slurmd", "-D", "-N", node, name=f"slurmd {node}")
        self.wait(self.idle, "the nodes")

    def start_controller(self, *options: str) -> None:
        """Start slurmctld, which stop_controller may have ended."""
        self.run("slurmctld", "-D", *options)

    def stop_controller(self) -> None:
        """End slurmctld: jobs go on, and nobody answers squeue."""
        process = self.processes.pop("slurmctld")
        process.terminate()
        process.wait()

    def idle(self) -> bool:
        """Whether all nodes wait for work."""
        asked = subprocess.run(["sinfo", "-h", "-N", "-p", "debug,urgent", "-o", "%t"], capture_output=True, text=True)
        return asked.stdout.split() == ["idle"] * len(NODES)

    def run(self, *command: str, name: str = "") -> None:
        with (self.folder / f"{command[0]}.out").open("ab") as out:
            started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.processes[name or command[0]] = started

    def wait(self, ready, what: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not ready():
            dead = [name for name, process in self.processes.items() if process.poll() is not None]
            if dead or time.monotonic() > end:
                said = "\n".join(file.read_text(errors="replace")[-1500:] for file in self.folder.glob("*.out"))
                raise TimeoutError(f"{what} did not come up; ended: {dead}; in {self.folder} is said:\n{said}")
            time.sleep(0.1)

    def end(self) -> None:
        """End what was started, jobs first."""
        if "slurmctld" in self.processes:
            subprocess.run(["scancel", "--user=root"], capture_output=True, timeout=30)
            end = time.monotonic() + 30
            while not self.idle() and time.monotonic() < end:
                time.sleep(0.2)
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        self.processes = {}
        if self.before is None:
            os.environ.pop("SLURM_CONF", None)
        else:
            os.environ["SLURM_CONF"] = self.before


def _version() -> int:
    """Return the first part of Slurm's version."""
    said = subprocess.run(["slurmd", "-V"], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"(\d+)\.", said)[1])  # pyright: ignore[reportOptionalSubscript]


def _is_here(host: str) -> bool:
    """Whether this is a name of 127.0.0.1."""
    try:
        return socket.gethostbyname(host) == "127.0.0.1"
    except OSError:
        return False


def _free_ports(count: int) -> int:
    """Return the first of so many ports beside each other that nobody has."""
    for first in range(16810 + os.getpid() % 1000, 32000, count):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for offset, one in enumerate(sockets):
                one.bind(("", first + offset))
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
        return first
    raise OSError("no port is free")


if __name__ == "__main__":
    if (lacks := missing()) or not sys.argv[1:]:
        sys.exit(lacks)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what is in its background ignore it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Cluster(Path(sys.argv[1])) as cluster:
        print(f"export SLURM_CONF={cluster.conf}", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass
