"""What a measurement must know of the machine: what it is, and counters that show who else used it.

On Linux everything is read from /proc and /sys, in containers and virtual machines too; what a machine does not tell
is recorded as "unknown" or None, never guessed. Elsewhere (macOS, Windows) only the portable facts are known.
Formats: proc(5) and, in the kernel's documentation, admin-guide/pm/cpufreq.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from edgeseg.measure import cgroup
from edgeseg.measure.cgroup import text

UNKNOWN = "unknown"
# Instructions that decide how fast int8 and bf16 are, as /proc/cpuinfo spells them on x86 and on Arm.
FEATURES = (
    "avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
    "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
LIBRARIES = ("edgeseg", "numpy", "onnxruntime", "openvino")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What does not change while one measures."""

    cpu: str  # as bland as the machine has it: "AMD EPYC" in a virtual machine
    cores: int  # that this process may run on
    features: tuple[str, ...]  # those of FEATURES that this CPU has
    governor: str  # "performance", "schedutil", ...
    clock: str  # where the clock can be watched: "cpufreq", "cpuinfo" or "unknown"
    virtual: bool  # the kernel says that it runs under a hypervisor
    quota_cores: float | None  # the container's CPU quota; None: no quota
    platform: str
    python: str
    versions: dict[str, str]
    date: str  # ISO 8601, UTC

    @property
    def has_bf16(self) -> bool:
        """Whether bf16 is native here; emulated, it is no baseline."""
        return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(self.features)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Counters at one moment. All but ``mhz`` and ``loadavg`` only grow; what happened is the difference of two.

    ``busy_s`` is CPU time spent by anyone on the cores we may use, ``stolen_s`` the part of it that a hypervisor gave
    to other machines, ``own_s`` what this process used, in all its threads.
    """

    at_ns: int
    own_s: float
    busy_s: float | None = None
    stolen_s: float | None = None
    mhz: tuple[float, ...] = ()  # per core we may use; empty where it cannot be watched
    thermal_throttles: int | None = None
    quota_throttles: int | None = None
    loadavg: float | None = None  # over the last minute, our own work included


class Host:
    """This machine. ``root`` holds its ``proc`` and ``sys``, so that tests can bring their own."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.proc, self.cpus = root / "proc", root / "sys/devices/system/cpu"
        self.groups = cgroup.folders(self.proc, root / "sys/fs/cgroup")
        self.model = root / "proc/device-tree/model"
        self.cores = _usable_cores()

    def facts(self) -> Facts:
        processors = _processors(self.proc)
        info = {**processors[-1], **processors[0]}
        flags = (info.get("flags") or info.get("Features") or "").split()
        virtual = "hypervisor" in flags
        governors = {g for core in self.cores if (g := self._cpufreq(core, "scaling_governor"))}
        return Facts(
            cpu=self._cpu_name(info),
            cores=len(self.cores),
            features=tuple(f for f in FEATURES if f in flags),
            governor=", ".join(sorted(governors)) or UNKNOWN,
            clock=self._clock(virtual, info),
            virtual=virtual,
            quota_cores=cgroup.quota_cores(self.groups),
            platform=platform.platform(),
            python=platform.python_version(),
            versions=_versions(),
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    def read(self) -> Reading:
        """Takes a millisecond or so: between timed frames, never inside one."""
        busy, stolen = self._busy()
        return Reading(
            at_ns=time.monotonic_ns(),
            own_s=time.process_time(),
            busy_s=busy,
            stolen_s=stolen,
            mhz=self._mhz(),
            thermal_throttles=self._thermal_throttles(),
            quota_throttles=cgroup.throttles(self.groups),
            loadavg=_loadavg(),
        )

    def _cpu_name(self, info: dict[str, str]) -> str:
        board = (text(self.model) or "").rstrip("\0")  # Arm boards name themselves here
        return info.get("model name") or board or info.get("Hardware") or platform.processor() or UNKNOWN

    def _busy(self) -> tuple[float | None, float | None]:
        """Seconds that our cores worked since boot, stolen ones among them, and the stolen ones alone."""
        busy = stolen = 0.0
        found = False
        for line in (text(self.proc / "stat") or "").splitlines():
            name, *ticks = line.split()
            if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in self.cores and len(ticks) >= 8:
                user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, ticks[:8])
                busy += (user + nice + system + irq + softirq + steal) / _ticks_per_s()
                stolen += steal / _ticks_per_s()
                found = True
        return (busy, stolen) if found else (None, None)

    def _clock(self, virtual: bool, info: dict[str, str]) -> str:
        if all(self._cpufreq(core, "scaling_cur_freq") for core in self.cores):
            return "cpufreq"
        # Under a hypervisor /proc/cpuinfo repeats the clock of boot, whatever the real one does.
        return "cpuinfo" if "cpu MHz" in info and not virtual else UNKNOWN

    def _mhz(self) -> tuple[float, ...]:
        from_sys = [self._cpufreq(core, "scaling_cur_freq") for core in self.cores]
        if all(from_sys):
            return tuple(float(khz) / 1000 for khz in from_sys if khz)
        blocks = _processors(self.proc)
        if any("hypervisor" in b.get("flags", "") for b in blocks):
            return ()
        return tuple(
            float(b["cpu MHz"]) for b in blocks if "cpu MHz" in b and int(b.get("processor", -1)) in self.cores
        )

    def _cpufreq(self, core: int, name: str) -> str | None:
        return text(self.cpus / f"cpu{core}/cpufreq/{name}")

    def _thermal_throttles(self) -> int | None:
        counts = [
            text(self.cpus / f"cpu{core}/thermal_throttle/{scope}_throttle_count")
            for core in self.cores
            for scope in ("core", "package")
        ]
        known = [int(c) for c in counts if c and c.isdigit()]
        return sum(known) if known else None


def peak_rss_bytes() -> int | None:
    """The most memory that this whole process has ever held: interpreter, libraries and all. None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _usable_cores() -> tuple[int, ...]:
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _loadavg() -> float | None:
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none, a sandbox may not tell
        return None


def _ticks_per_s() -> int:
    return os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in block.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _processors(proc: Path) -> list[dict[str, str]]:
    """The blocks of /proc/cpuinfo: one per processor, on Arm boards one more for the board."""
    return [_fields(block) for block in (text(proc / "cpuinfo") or "").split("\n\n")]
