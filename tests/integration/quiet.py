"""Runs commands in a network of their own, and records every look-up and every packet that leaves.

``unshare --net --mount python -m tests.integration.quiet REPORT COMMAND...`` runs the commands one
after the other with sh. In that network every address is local, so that all packets to the outside
appear on the loopback interface. The only name server is this program.
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
    """Makes all addresses local and 127.0.0.1 the name server, with a file in ``folder``."""
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
    """Records each look-up, and answers that there is no such name."""
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
            # Answer NXDOMAIN, with the question repeated and no records.
            server.sendto(query[:2] + b"\x81\x83" + query[4:6] + bytes(6) + query[12:], client)

    threading.Thread(target=run, daemon=True).start()


def watch(sent: set[str]) -> None:
    """Records the destination of every packet that does not go to a loopback address."""
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
    """Runs the commands; returns the exit code of the first that failed, or 0."""
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
