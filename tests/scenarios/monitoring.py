"""A real Prometheus that scrapes a service, with the rules and the dashboard that ship."""

from __future__ import annotations

import json
import math
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from benchmarks.launch import HOST, ROOT, Program, free_ports, wait_until
from benchmarks.service import Service

CONFIG = ROOT / "deploy" / "prometheus.yaml"
FILES = ROOT / "deploy" / "helm" / "emotion2vec" / "files"
RULES, DASHBOARD = FILES / "rules.yaml", FILES / "dashboard.json"

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DURATION = re.compile(r"(?<=\[)(\d+)([smhd])(?=\])|(?<=for: )(\d+)([smhd])$", re.MULTILINE)
"""The windows and the ``for`` of the rules."""

JOBS = {"emotion2vec-gateway": "REST", "emotion2vec-triton": "metrics"}


def shortened(rules: str, factor: int) -> str:
    """The rules with every window and every ``for`` divided by ``factor``, down to 5 s and 1 s."""

    def shorter(match: re.Match[str]) -> str:
        number, unit = match.group(1, 2) if match[1] else match.group(3, 4)
        least = 5 if match[1] else 1
        return f"{max(int(number) * SECONDS[unit] // factor, least)}s"

    return DURATION.sub(shorter, rules)


@dataclass(frozen=True)
class Query:
    """A query of the dashboard.

    Attributes:
        panel: Title of its panel.
        expression: The query, with Grafana's variables.
        legend: What its series are called.
    """

    panel: str
    expression: str
    legend: str

    def filled(self, interval: str) -> str:
        """The query as Grafana sends it, for all namespaces; rates over ``interval``."""
        return self.expression.replace("$__rate_interval", interval).replace("$namespace", ".*")


def queries() -> list[Query]:
    """All queries of the dashboard."""
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return [
        Query(panel["title"], target["expr"], target["legendFormat"])
        for panel in panels
        for target in panel.get("targets", [])
    ]


class Prometheus(Program):
    """Debian's Prometheus with our configuration, which scrapes a service every second.

    Args:
        service: With a gateway.
        folder: For its configuration and its data.
        factor: By which the windows of the rules are shortened.
    """

    def __init__(self, service: Service, folder: Path, factor: int = 1) -> None:
        [port] = free_ports(1)
        self.url = f"http://{HOST}:{port}"
        rules = folder / "rules.yaml"
        rules.write_text(shortened(RULES.read_text("utf-8"), factor), "utf-8")
        config = yaml.safe_load(CONFIG.read_text("utf-8"))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(rules)]
        targets = {"REST": service.hosts["REST"], "metrics": service.metrics_url.split("/")[2]}
        for job in config["scrape_configs"]:
            job["static_configs"] = [{"targets": [targets[JOBS[job["job_name"]]]]}]
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config), "utf-8")
        super().__init__(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={HOST}:{port}",
            ]
        )

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self.line("Server is ready to receive web requests")
        except BaseException:
            self.end()
            raise
        return self

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query.

        Raises:
            httpx.HTTPStatusError: Prometheus cannot parse the query.
        """
        return self._get("query", query=expression)["result"]

    def values(self, expression: str) -> list[float]:
        """The values of an instant query that are numbers."""
        found = [float(series["value"][1]) for series in self.query(expression)]
        return [value for value in found if math.isfinite(value)]

    def series(self, expression: str, begin: float, end: float) -> list[dict[str, Any]]:
        """The series of a range, second by second; times as of ``time.time``."""
        return self._get("query_range", query=expression, start=begin, end=end, step=1)["result"]

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        alerts = self._get("alerts")["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    def wait_for_scrape(self) -> None:
        """Waits until both targets were scraped after now."""
        began = time.time()
        wait_until(
            lambda: len(self.values(f"timestamp(up == 1) > {began}")) == len(JOBS),
            "both targets are scraped",
        )

    def _get(self, path: str, **parameters: object) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=60)  # type: ignore[arg-type]
        answer.raise_for_status()
        return answer.json()["data"]
