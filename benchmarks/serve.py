"""The HTTP service under load: look-alikes, lists of users and search by picture, on real Delta tables.

The tables (`benchmarks.shop`) have the project's schemas and are written with `deltalake`. The service is
`vizrec serve` in a process of its own, and so is the generator of load (`benchmarks.load`): it sends at a fixed rate
over loopback, a third look-alikes, a third lists of users and a third lists for what was just looked at (POST, 1 to 50
products, half of them of a known user), and counts each latency from the moment at which the request was due. Phases:

- the bar's rate, which is what the bars are about;
- the same while table `live_recommendations` is written anew every second (`benchmarks.shop.live_lists`), as from here
  on to the end;
- the same while a new version is committed and loaded as well;
- ten times the rate, over as many connections as the service takes, then over eight times as many, most of which it has
  to refuse;
- the bar's rate again; pictures, one after the other at a fixed rate.

There is no peer: the bars are absolute, and the exit code is 1 where one is missed. Service and generator share the
cores of one machine; what each took is printed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable

from benchmarks import shop
from benchmarks.landing import contents, write_landing
from vizrec_spark.config import Config, load_config, save_config
from vizrec_spark.embed.build import build_encoder
from vizrec_spark.embed.resolve import encoder_spec

KINDS = ("similar", "user", "session")
BARS = {**{f"{kind}_p99_ms": 25.0 for kind in KINDS}, "search_p95_ms": 150.0, "errors": 0}
OVERLOAD_RATE = 10  # of the bar's rate
OVERLOAD_S = 10.0
CROWD = 8  # times the connections that the service takes


def build_parser() -> argparse.ArgumentParser:
    """The benchmark's command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("--items", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--users", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--k", type=int, default=50, help="look-alikes an item (default: %(default)s)")
    parser.add_argument("--list", type=int, default=20, help="recommendations a user (default: %(default)s)")
    parser.add_argument("--live", type=int, default=10_000, help="live lists (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="of the main phase (default: %(default)s)"
    )
    parser.add_argument(
        "--searches", type=int, default=100, help="pictures searched for (default: %(default)s)"
    )
    parser.add_argument(
        "--encoder", help="a .keras file (ImageNet's EfficientNet-Lite0); default: efficientnet_lite0"
    )
    parser.add_argument(
        "--folder", type=Path, help="keep the tables here, and take them from here the next time"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for the service")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Prints the table and the line ``RESULT``; the exit code."""
    args = build_parser().parse_args(argv)
    scratch = args.folder or Path(tempfile.mkdtemp(prefix="vizrec-bench-serve-"))
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        result = _run(args, scratch)
    finally:
        if args.folder is None:
            shutil.rmtree(scratch, ignore_errors=True)
    _print(result, least(args))
    return int(bool(result["bars_missed"]))


def _run(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    config = _config(args, scratch)
    built = build_encoder(encoder_spec(config.embed), Path(config.embed.cache))
    done = scratch / "written.json"
    sizes = json.dumps([args.items, args.users, args.k, args.list, built.encoder_id])
    began = time.monotonic()
    if not done.is_file() or done.read_text(encoding="utf-8") != sizes:
        shutil.rmtree(scratch / "tables", ignore_errors=True)
        shop.write_tables(args, scratch / "tables", config, built.encoder_id, built.dimension)
        done.write_text(sizes, encoding="utf-8")
    result: dict[str, Any] = {
        "items": args.items,
        "users": args.users,
        "neighbors": args.items * args.k,
        "recommendations": args.users * args.list,
        "dimension": built.dimension,
        "tables_written_s": time.monotonic() - began,
    }
    log = scratch / "serve.log"
    command = [str(Path(sys.executable).with_name("vizrec")), "serve", "--port", "0"]
    command += ["--config", str(save_config(config, scratch / "serve.yml"))]
    began = time.monotonic()
    with log.open("wb") as out:
        service = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        host, port = _address(service, log)
        result["start_s"] = time.monotonic() - began
        result |= _memory(service.pid, host, port)
        result |= _load(args, scratch, service.pid, host, port, config, built.encoder_id)
        result["rss_after_mib"] = _rss(service.pid)
    finally:
        service.send_signal(signal.SIGTERM)
        code = service.wait(timeout=60)
    result["exit_code"] = code
    result["errors"] = sum(v for k, v in result.items() if k.endswith("_errors")) + abs(code)
    result["bars_missed"] = missed(result, least(args))
    return result


def least(args: argparse.Namespace) -> dict[str, float]:
    """What has to be reached at the rate and in the time that were asked for: every request of the main phase is
    answered, 29 of 30 of the overload are really offered, and a tenth of the live lists written are taken up."""
    sent = int(args.rate * args.seconds)
    return {
        "requests_per_s": sent / args.seconds,
        "overload_offered_per_s": OVERLOAD_RATE * args.rate * 29 / 30,
        "live_versions": max(1.0, args.seconds / shop.LIVE_EVERY_S / 10),
    }


def missed(result: dict[str, Any], at_least: dict[str, float]) -> list[str]:
    """The names of the bars that `result` does not reach; what is not a number reaches none."""
    above = [name for name, bar in BARS.items() if not result[name] <= bar]
    return above + [name for name, bar in at_least.items() if not result[name] >= bar]


def _config(args: argparse.Namespace, scratch: Path) -> Config:
    encoder = [f"embed.encoder={args.encoder or 'efficientnet_lite0'}"]
    if args.encoder is not None:
        encoder += ["embed.layer=avg_pool", "embed.preprocessing={mean: 127, scale: 128}"]
    return load_config(
        None,
        [f"tables.root={scratch / 'tables'}", f"embed.cache={scratch / 'encoders'}", *encoder, *args.set],
    )


def _address(service: subprocess.Popen[bytes], log: Path) -> tuple[str, int]:
    while (found := re.search(r"listening on http://([\d.]+):(\d+)", log.read_text("utf-8"))) is None:
        if service.poll() is not None:
            raise RuntimeError(f"the service does not start:\n{log.read_text('utf-8')}")
        time.sleep(0.1)
    return found[1], int(found[2])


def _load(
    args: argparse.Namespace, scratch: Path, pid: int, host: str, port: int, config: Config, encoder_id: str
) -> dict[str, Any]:
    """All phases, one after the other."""
    requests = _requests(args)
    generator = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load", host, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert generator.stdin is not None and generator.stdout is not None

    def begin(rate: float, seconds: float, connections: int) -> None:
        phase = {"rate": rate, "seconds": seconds, "connections": connections, "requests": requests}
        generator.stdin.write(json.dumps(phase) + "\n")
        generator.stdin.flush()

    def ended() -> dict[str, Any]:
        return dict(json.loads(generator.stdout.readline()))

    def phase(rate: float, seconds: float, connections: int) -> dict[str, Any]:
        before = np.array([_cpu(pid), _cpu(generator.pid)])
        begin(rate, seconds, connections)
        heard = ended()
        used = np.array([_cpu(pid), _cpu(generator.pid)]) - before
        return {**heard, "cores": (used / heard["seconds"]).tolist()}

    result: dict[str, Any] = {}
    phase(args.rate, 3, 64)  # what is loaded, compiled or opened on first use
    steady = phase(args.rate, args.seconds, 64)
    for kind, name in enumerate(KINDS):
        result |= _percentiles(name, steady["latencies"][kind])
    result["requests_per_s"] = steady["statuses"].get("200", 0) / args.seconds
    result["steady_errors"] = steady["sent"] - steady["statuses"].get("200", 0)
    result["service_cores"], result["generator_cores"] = steady["cores"]

    with shop.live_lists(args, scratch / "tables", encoder_id) as written:
        version = 'vizrec_table_version{table="live_recommendations"}'
        before = _metric(host, port, version, missing=0)
        lively = phase(args.rate, args.seconds, 64)
        result["live_versions"] = int(_metric(host, port, version, missing=0) - before)
        result |= _percentiles("live", [*chain(*lively["latencies"])])
        result["live_errors"] = lively["sent"] - lively["statuses"].get("200", 0)
        result["live_service_cores"] = lively["cores"][0]
        result |= _under_stress(args, scratch, pid, host, port, config, begin, ended, phase)
        generator.stdin.close()
        generator.wait(timeout=60)
        result |= _searches(args, scratch, host, port)
        result["live_written"] = int(written.read_text("ascii"))
    return result


def _under_stress(
    args: argparse.Namespace,
    scratch: Path,
    pid: int,
    host: str,
    port: int,
    config: Config,
    begin: Callable[[float, float, int], None],
    ended: Callable[[], dict[str, Any]],
    phase: Callable[[float, float, int], dict[str, Any]],
) -> dict[str, Any]:
    """The phases after the main ones: a reload, more than can be answered, and how it goes then."""
    result: dict[str, Any] = {}
    begin(args.rate, 20, 64)
    time.sleep(2)
    loads = _metric(host, port, "vizrec_reloads_total")
    shop.commit_again(args, scratch / "tables", pid)
    heard = ended()
    while _metric(host, port, "vizrec_reloads_total") == loads:
        time.sleep(0.5)
    result |= _percentiles("reload", [*chain(*heard["latencies"])])
    result["reload_s"] = _metric(host, port, "vizrec_reload_seconds")
    result["reload_errors"] = _errors(heard)
    result["reload_refused"] = heard["sent"] - heard["statuses"].get("200", 0) - result["reload_errors"]

    # One connection is left for those who ask how it goes.
    connections = config.serve.max_connections
    for name, most in (("overload", connections - 1), ("crowd", CROWD * connections)):
        over = phase(OVERLOAD_RATE * args.rate, OVERLOAD_S, most)
        result[f"{name}_offered_per_s"] = (over["sent"] - over["unsent"]) / over["offered_s"]
        result[f"{name}_answered_per_s"] = over["statuses"].get("200", 0) / over["seconds"]
        result[f"{name}_service_cores"], result[f"{name}_generator_cores"] = over["cores"]
        result[f"{name}_unsent"] = over["unsent"]
        result[f"{name}_refused"] = sum(over["statuses"].get(code, 0) for code in ("429", "503"))
        result[f"{name}_broken"], result[f"{name}_hung"] = over["broken"], over["hung"]
        result |= _percentiles(name, [*chain(*over["latencies"])])
        result[f"{name}_errors"] = _errors(over)

    after = phase(args.rate, 5, 64)
    result |= _percentiles("after", [*chain(*after["latencies"])])
    result["after_errors"] = after["sent"] - after["statuses"].get("200", 0)
    return result


def _requests(args: argparse.Namespace) -> list[tuple[int, str] | tuple[int, str, str]]:
    """Some thousands, the kinds in turn."""
    draw, found = np.random.default_rng(1), []
    for number in range(2000):
        item, user = (int(n) for n in draw.integers(0, (args.items, args.users)))
        viewed = draw.integers(0, args.items, draw.integers(1, 51))
        session = {"viewed": [shop.item(n) for n in viewed.tolist()]}
        known = {"user_id": shop.user(user)} if number % 2 else {}
        found.append((0, f"/v1/similar?item_id={shop.item(item)}&k=20"))
        found.append((1, f"/v1/recommendations?user_id={shop.user(user)}&k=20"))
        found.append((2, "/v1/recommendations?k=20", json.dumps({**known, **session})))
    return found


def _errors(heard: dict[str, Any]) -> int:
    """Of what was sent: what got neither an answer nor a clean refusal (429 or 503 with Retry-After) within 30 s."""
    clean = sum(heard["statuses"].get(code, 0) for code in ("200", "429", "503"))
    return int(heard["sent"] - heard["unsent"] - clean + heard["unclean"])


def _searches(args: argparse.Namespace, scratch: Path, host: str, port: int) -> dict[str, Any]:
    """Pictures at two a second, over one connection; each latency counts from its time."""
    write_landing(scratch / "pictures", args.searches + 3, None)
    bodies = []
    for content in contents(scratch / "pictures", args.searches + 3):
        head = b'--b\r\nContent-Disposition: form-data; name="picture"; filename="x.jpg"\r\n\r\n'
        bodies.append(head + content + b"\r\n--b--\r\n")
    connection = http.client.HTTPConnection(host, port, timeout=60)
    latencies, errors = [], 0
    began = time.monotonic()
    for number, body in enumerate(bodies):
        due = began + number / 2
        time.sleep(max(0.0, due - time.monotonic()))
        connection.request(
            "POST", "/v1/search?k=20", body, {"Content-Type": "multipart/form-data; boundary=b"}
        )
        answer = connection.getresponse()
        found = answer.read()
        if number < 3:  # the first ones warm the encoder up
            continue
        latencies.append(time.monotonic() - due)
        errors += answer.status != 200 or len(json.loads(found)["items"]) != 20
    connection.close()
    return {**_percentiles("search", latencies), "searches": len(latencies), "search_errors": errors}


def _percentiles(name: str, seconds: Sequence[float]) -> dict[str, float]:
    found = np.percentile(seconds, [50, 95, 99]) if len(seconds) else [float("nan")] * 3
    return {f"{name}_p{p}_ms": 1000 * float(v) for p, v in zip((50, 95, 99), found, strict=True)}


def _metric(host: str, port: int, name: str, missing: float | None = None) -> float:
    connection = http.client.HTTPConnection(host, port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode("utf-8")
    connection.close()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    if found is None and missing is not None:
        return missing
    assert found is not None, text[:500]
    return float(found[1])


def _memory(pid: int, host: str, port: int) -> dict[str, Any]:
    connection = http.client.HTTPConnection(host, port, timeout=60)
    connection.request("GET", "/readyz")
    ready = json.loads(connection.getresponse().read())
    connection.close()
    assert ready["search"]["ready"], ready
    parts = {f"{name}_mib": size / 2**20 for name, size in ready["bytes"].items()}
    return {**parts, "load_s": _metric(host, port, "vizrec_reload_seconds"), "rss_mib": _rss(pid)}


def _rss(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) >> 10  # type: ignore[index]


def _cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _print(result: dict[str, Any], at_least: dict[str, float]) -> None:
    table = RichTable(title="The service under load", title_justify="left")
    table.add_column("what")
    table.add_column("value", justify="right")
    for name, value in result.items():
        table.add_row(name.replace("_", " "), f"{value:,.4g}" if isinstance(value, float) else str(value))
    console = Console(file=sys.stdout, width=110)
    console.print(table)
    bars = {**BARS, **at_least}
    told = [f"{name} is {result[name]:.1f}, the bar {bars[name]:g}" for name in result["bars_missed"]]
    console.print(f"Bars missed on this machine: {'; '.join(told) or 'none'}.")
    print("RESULT", json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in result.items()}))


if __name__ == "__main__":
    sys.exit(main())
