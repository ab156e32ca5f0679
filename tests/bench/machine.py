"""The machine and the versions that a report names."""

import contextlib
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path


def local_ports() -> int:
    first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    return int(last) - int(first) + 1


def find_line(path: str, pattern: str) -> str:
    found = re.search(pattern, Path(path).read_text(), re.MULTILINE)
    return found[1].strip() if found else "unknown"


def describe() -> dict[str, str]:
    model = find_line("/proc/cpuinfo", r"^model name\s*:(.*)")
    system = find_line("/etc/os-release", r"^PRETTY_NAME=\"?([^\"\n]*)")
    memory_kib = int(find_line("/proc/meminfo", r"^MemTotal:\s*(\d+)"))
    return {
        "CPU": f"{model}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{memory_kib / 1024**2:.0f} GiB",
        "system": f"{system}, Linux {platform.release()}",
    }


def first_match(command: list[str], pattern: str) -> str:
    with contextlib.suppress(OSError):
        path = os.environ["PATH"] + ":/usr/sbin"
        program = shutil.which(command[0], path=path) or command[0]
        done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
        if found := re.search(pattern, done.stdout + done.stderr):
            return found[1]
    return "not installed"


def package_version(name: str) -> str:
    return first_match(["dpkg-query", "-W", "-f", "${Version}", name], r"^(\d\S*)$")


def versions(build: Path) -> dict[str, str]:
    php = sorted(path.name for path in Path("/usr/sbin").glob("php-fpm[0-9]*"))
    return {
        "bailian-fcgi": first_match([str(build / "bailian-fcgi"), "--version"], r"bailian-fcgi (\S+)"),
        "nginx": first_match(["nginx", "-v"], r"nginx/(\S+)"),
        "libcurl": package_version("libcurl4-openssl-dev"),
        "libfcgi": package_version("libfcgi-dev"),
        "libevent": package_version("libevent-dev"),
        "Go": first_match(["go", "version"], r"go(\d[\d.]*)"),
        "PHP": first_match([php[-1], "-v"], r"PHP (\S+)") if php else "not installed",
    }
