"""Runs in a network of its own: every look-up and every packet to elsewhere is written down.

``unshare --net --mount python -m tests.integration.quiet REPORT COMMAND...``: the commands run one
after the other, each a line for sh. In that network each address is this machine's, so that what is
sent to the outside is seen on the loopback interface; the only name server is ours.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

ETHERNET, IPV4, IPV6 = 14, 0x0800, 0x86DD
EVERYTHING = 3


def set_up(folder: Path) -> None:
    """All addresses are local; names are asked of 127.0.0.1, as a file in ``folder`` says."""
    for line in (
        "ip link set lo up",
        "ip route add local default dev lo",
        "ip -6 route add local default dev lo",
    ):
        subprocess.run(line.split(), check=line.startswith("ip link"), stderr=subprocess.DEVNULL)
    resolver = folder / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\n")
    subprocess.run(["mount", "--bind", str(resolver), "/etc/resolv.conf"], check=True)


def serve_names(asked: list[str]) -> None:
    """Writes down what is asked, and answers that there is no such name."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))

    def run() -> None:
        while True:
            query, client = server.recvfrom(4096)
            labels, at = [], 12
            while size := query[at]:
                labels.append(query[at + 1 : at + 1 + size].decode(errors="replace"))
                at += 1 + size
            asked.append(".".join(labels))
            # The question again, as an answer without records: NXDOMAIN.
            server.sendto(query[:2] + b"\x81\x83" + query[4:6] + bytes(6) + query[12:], client)

    threading.Thread(target=run, daemon=True).start()


def watch(sent: set[str]) -> None:
    """Writes down the destination of every packet that is not for the loopback addresses."""
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERYTHING))
    sniffer.bind(("lo", 0))

    def run() -> None:
        while True:
            packet = sniffer.recv(65536)
            kind, data = int.from_bytes(packet[12:14], "big"), packet[ETHERNET:]
            raw = {IPV4: data[16:20], IPV6: data[24:40]}.get(kind)
            if raw and not (address := ipaddress.ip_address(raw)).is_loopback:
                sent.add(str(address))

    threading.Thread(target=run, daemon=True).start()


def main() -> int:
    """Returns the exit code of the first command that failed, or 0."""
    report, *commands = sys.argv[1:]
    set_up(Path(report).parent)
    asked: list[str] = []
    sent: set[str] = set()
    serve_names(asked)
    watch(sent)
    code = 0
    for command in commands:
        code = code or subprocess.run(["sh", "-c", command], check=False).returncode
    Path(report).write_text(json.dumps({"asked": asked, "sent": sorted(sent)}))
    return code


if __name__ == "__main__":
    sys.exit(main())
