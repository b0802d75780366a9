"""One namespace for each worker, joined by a bridge in the namespace "hub"; every link is shaped at both of its ends."""

import json
import subprocess
from pathlib import Path

from benchmarks.link.options import Rate

RUN = "/var/run"  # where `ip netns` keeps its names; hidden by an empty folder of our own
INTERFACE = "eth0"  # a worker's; the link's other end is the hub's port{rank}


class Refused(RuntimeError):
    """ip or tc did not do what it was told to."""


def build(workers: int) -> None:
    _call("mount", "-t", "tmpfs", "tmpfs", RUN)
    _call("ip", "netns", "add", "hub")
    _ip("hub", "link add bridge type bridge")
    _ip("hub", "link set bridge addrgenmode none up")
    for rank in range(workers):
        _attach(rank)


def namespace(rank: int) -> str:
    return f"worker{rank}"


def address(rank: int) -> str:
    return f"10.77.0.{rank + 1}"


def in_namespace(rank: int) -> list[str]:
    """The command before a command that is to run in the worker's namespace, and to die with us."""
    return ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={RUN}/netns/{namespace(rank)}"]


def shape(workers: int, rate: Rate) -> None:
    """Limit each link to `rate` in both directions."""
    packet, burst = sizes(rate)
    for rank in range(workers):
        for place, device in ((namespace(rank), INTERFACE), ("hub", f"port{rank}")):
            _ip(place, f"link set {device} gso_max_size {packet}")
            limit = f"root tbf rate {rate.bits}bit burst {burst} latency 50ms"
            _call("tc", "-n", place, "qdisc", "replace", "dev", device, *limit.split())


def sizes(rate: Rate) -> tuple[int, int]:
    """The largest packet before segmentation and tbf's burst, in bytes.

    Both are about a millisecond of the rate, so that a burst is no gift to short messages, and tbf need not cut packets itself.

    >>> sizes(Rate.parse("100mbit")), sizes(Rate.parse("10gbit"))
    ((16384, 18432), (65536, 1250000))
    """
    millisecond = rate.bits // 8000
    packet = min(max(millisecond, 16384), 65536)
    return packet, max(packet * 9 // 8, millisecond)


def counters() -> dict[str, int]:
    """What has left this namespace's interface since it was made, and what tbf counts: with the headers of each segment."""
    fields = device_line(Path("/proc/net/dev").read_text())
    (queue,) = json.loads(_call("tc", "-s", "-j", "qdisc", "show", "dev", INTERFACE))
    return {"interface": int(fields[8]), "packets": int(fields[9]), "wire": queue["bytes"], "drops": queue["drops"]}


def device_line(text: str) -> list[str]:
    return next(
        rest for name, _, rest in (line.partition(":") for line in text.splitlines()) if name.strip() == INTERFACE
    ).split()


def _attach(rank: int) -> None:
    place, port = namespace(rank), f"port{rank}"
    _call("ip", "netns", "add", place)
    # Without addresses of IPv6 nothing is sent that no worker asked for.
    _ip("hub", f"link add {port} type veth peer name {INTERFACE} netns {place}")
    _ip("hub", f"link set {port} addrgenmode none master bridge up")
    _ip(place, f"address add {address(rank)}/24 dev {INTERFACE}")
    _ip(place, f"link set {INTERFACE} addrgenmode none up")
    _ip(place, "link set lo up")


def _ip(place: str, command: str) -> str:
    return _call("ip", "-n", place, *command.split())


def _call(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except subprocess.TimeoutExpired as error:
        raise Refused(f"`{' '.join(command)}` did not end within 30 s.") from error
    if done.returncode:
        raise Refused(f"`{' '.join(command)}` said: {done.stderr.strip()}")
    return done.stdout
