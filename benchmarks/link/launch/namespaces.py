"""Private network and mount namespaces, which the kernel removes with their last process, however that ends."""

import os
import shutil
import subprocess
import sys

# What the benchmark will need, tried on a link of its own.
_PROBE = """mount -t tmpfs tmpfs /var/run && ip netns add probe &&
ip -n probe link add eth0 type veth peer name eth1 && ip -n probe link add bridge type bridge &&
tc -n probe qdisc add dev eth0 root tbf rate 1gbit burst 150kb latency 50ms"""
_TOOLS = {"ip": "iproute2", "tc": "iproute2"} | dict.fromkeys(("unshare", "nsenter", "setpriv", "mount"), "util-linux")
_AS_ROOT = ["unshare", "--net", "--mount"]
_AS_USER = ["unshare", "--user", "--map-root-user", "--net", "--mount"]


def enter(module: str, arguments: list[str]) -> None:
    """Become `python -m module` in namespaces of its own; where that cannot be, say why and return."""
    reason = missing()
    prefix, reason = ([], reason) if reason else _ways()
    if reason:
        print(f"The benchmark is skipped: {reason}")
        return
    sys.stdout.flush()
    os.execvp(prefix[0], [*prefix, sys.executable, "-m", module, *arguments])


def missing() -> str:
    """The sentence about what is not installed, if anything is."""
    if sys.platform != "linux":
        return "it needs the network namespaces of Linux."
    lacking = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if not lacking:
        return ""
    packages = sorted({_TOOLS[tool] for tool in lacking})
    return f"it needs {', '.join(lacking)}; on Debian or Ubuntu: apt-get install {' '.join(packages)}."


def _ways() -> tuple[list[str], str]:
    """How namespaces can be had here, or the sentence why they cannot."""
    said = ""
    for prefix in (_AS_ROOT, _AS_USER):
        said = _refusal([*prefix, "sh", "-c", _PROBE])
        if not said:
            return prefix, ""
    return [], (
        f'network namespaces or tc\'s tbf are not permitted here ("{said}"); run it as root, or where users may make '
        "namespaces (in a container: docker run --privileged)."
    )


def _refusal(command: list[str]) -> str:
    """What the command says when it fails; nothing if it does not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "no end within 60 s"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no message"])[-1]
