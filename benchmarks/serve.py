"""The HTTP service under load: look-alikes, lists of users and search by picture, on real Delta tables.

The tables have the project's schemas and are written with `deltalake`; ids, titles, reasons and vectors are as large as
real ones. Who is whose look-alike is drawn at random, as a look-up costs the same whoever stands there; the vectors are
those of `benchmarks.vectors`. The service is `vizrec serve` in a process of its own, and so is the generator of load
(`benchmarks.load`): it sends at a fixed rate over loopback, half look-alikes and half lists, and counts each latency
from the moment at which the request was due. Phases: the bar's rate; the same while a new version is committed and
loaded; ten times the rate; the bar's rate again; pictures, one after the other at a fixed rate. There is no peer: the
bars are absolute. Everything shares the cores of one machine, the generator too; what it took is printed.
"""

from __future__ import annotations

import argparse
import hashlib
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
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from PIL import Image
from pyspark.sql.pandas.types import to_arrow_schema
from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.landing import contents, write_landing
from benchmarks.tables import new_table
from benchmarks.vectors import drawn_vectors
from vizrec_spark.config import Config, load_config, save_config
from vizrec_spark.config.encoders import encoder_key
from vizrec_spark.embed.build import build_encoder
from vizrec_spark.embed.resolve import encoder_spec
from vizrec_spark.serve.lists import PARTS, SOURCE_NAMES
from vizrec_spark.tables import Table
from vizrec_spark.tables import schemas as S

BARS = {"similar_p99_ms": 25.0, "user_p99_ms": 25.0, "search_p95_ms": 150.0}
WHEN = datetime(2025, 6, 1, tzinfo=UTC)
BLOCK = 10_000


def build_parser() -> argparse.ArgumentParser:
    """The benchmark's command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("--items", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--users", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--k", type=int, default=50, help="look-alikes an item (default: %(default)s)")
    parser.add_argument("--list", type=int, default=20, help="recommendations a user (default: %(default)s)")
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
    _print(result)
    return 0


def _run(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    config = _config(args, scratch)
    built = build_encoder(encoder_spec(config.embed), Path(config.embed.cache))
    done = scratch / "written.json"
    sizes = json.dumps([args.items, args.users, args.k, args.list, built.encoder_id])
    began = time.monotonic()
    if not done.is_file() or done.read_text(encoding="utf-8") != sizes:
        shutil.rmtree(scratch / "tables", ignore_errors=True)
        _write_tables(args, scratch / "tables", config, built.encoder_id, built.dimension)
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
        result |= _load(args, scratch, service.pid, host, port)
        result["rss_after_mib"] = _rss(service.pid)
    finally:
        service.send_signal(signal.SIGTERM)
        code = service.wait(timeout=60)
    result["exit_code"] = code
    result["errors"] = sum(v for k, v in result.items() if k.endswith("_errors")) + abs(code)
    result["bars_missed"] = [name for name, bar in BARS.items() if result[name] > bar]
    return result


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


def _load(args: argparse.Namespace, scratch: Path, pid: int, host: str, port: int) -> dict[str, Any]:
    """All phases, one after the other."""
    draw = np.random.default_rng(1)
    items, users = draw.integers(0, args.items, 2000), draw.integers(0, args.users, 2000)
    paths = []
    for item, user in zip(items, users, strict=True):
        paths.append((0, f"/v1/similar?item_id={_item(item)}&k=20"))
        paths.append((1, f"/v1/recommendations?user_id={_user(user)}&k=20"))
    generator = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load", host, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert generator.stdin is not None and generator.stdout is not None

    def begin(rate: float, seconds: float, connections: int) -> None:
        phase = {"rate": rate, "seconds": seconds, "connections": connections, "paths": paths}
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
    for kind, name in enumerate(("similar", "user")):
        result |= _percentiles(name, steady["latencies"][kind])
    result["requests_per_s"] = steady["statuses"].get("200", 0) / args.seconds
    result["steady_errors"] = steady["sent"] - steady["statuses"].get("200", 0)
    result["service_cores"], result["generator_cores"] = steady["cores"]

    begin(args.rate, 20, 64)
    time.sleep(2)
    loads = _metric(host, port, "vizrec_reloads_total")
    _commit_again(args, scratch / "tables", pid)
    heard = ended()
    while _metric(host, port, "vizrec_reloads_total") == loads:
        time.sleep(0.5)
    result |= _percentiles("reload", heard["latencies"][0] + heard["latencies"][1])
    result["reload_s"] = _metric(host, port, "vizrec_reload_seconds")
    result["reload_errors"] = _errors(heard)
    result["reload_refused"] = heard["sent"] - heard["statuses"].get("200", 0) - result["reload_errors"]

    over = phase(10 * args.rate, 10, 512)
    result["overload_sent_per_s"] = (over["sent"] - over["unsent"]) / over["seconds"]
    result["overload_answered_per_s"] = over["statuses"].get("200", 0) / over["seconds"]
    result["overload_service_cores"], result["overload_generator_cores"] = over["cores"]
    result["overload_unsent"] = over["unsent"]
    result["overload_refused"] = sum(over["statuses"].get(code, 0) for code in ("429", "503"))
    result |= _percentiles("overload", over["latencies"][0] + over["latencies"][1])
    result["overload_errors"] = _errors(over)

    after = phase(args.rate, 5, 64)
    result |= _percentiles("after", after["latencies"][0] + after["latencies"][1])
    result["after_errors"] = after["sent"] - after["statuses"].get("200", 0)
    generator.stdin.close()
    generator.wait(timeout=60)
    return result | _searches(args, scratch, host, port)


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


def _metric(host: str, port: int, name: str) -> float:
    connection = http.client.HTTPConnection(host, port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode("utf-8")
    connection.close()
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
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


def _item(number: int) -> str:
    return f"item-{number:07}"


def _user(number: int) -> str:
    return f"user-{number:07}"


def _write_tables(
    args: argparse.Namespace, root: Path, config: Config, encoder_id: str, dimension: int
) -> None:
    """All that the service reads, block by block."""
    n, draw = args.items, np.random.default_rng(0)
    small = BytesIO()
    Image.new("RGB", (64, 64), (200, 180, 160)).save(small, "JPEG")
    hashes = [hashlib.sha256(_item(i).encode()).hexdigest() for i in range(n)]
    kinds = ("bag", "boot", "coat", "dress", "lamp", "mug", "shirt", "watch")
    _write(root, S.ITEMS, (_items(first, min(first + BLOCK, n), kinds) for first in range(0, n, BLOCK)))
    _write(
        root,
        S.IMAGES,
        (_images(first, hashes[first : first + BLOCK], small.getvalue()) for first in range(0, n, BLOCK)),
    )
    _write(root, S.INTERACTIONS, (_interactions(draw, args) for _ in range(10)))
    _write(
        root,
        S.ENCODERS,
        [{"config_key": [encoder_key(config.embed)], "encoder_id": [encoder_id], "dimension": [dimension]}],
    )
    vectors = drawn_vectors(n, dimension, seed=0)
    _write(
        root,
        S.EMBEDDINGS,
        (
            {
                "sha256": hashes[first : first + BLOCK],
                "encoder_id": [encoder_id] * len(vectors[first : first + BLOCK]),
                "vector": pa.ListArray.from_arrays(
                    np.arange(len(vectors[first : first + BLOCK]) + 1, dtype=np.int32) * dimension,
                    vectors[first : first + BLOCK].ravel(),
                ),
            }
            for first in range(0, n, BLOCK)
        ),
    )
    del vectors
    _write(
        root,
        S.ITEM_NEIGHBORS,
        (_neighbors(draw, first, min(first + BLOCK, n), args, encoder_id) for first in range(0, n, BLOCK)),
    )
    texts = ("method", "plan", "setting", "metric", "fingerprint")
    quality: dict[str, Any] = {f.name: [0] for f in S.SIMILARITY_QUALITY.schema.fields}
    quality |= {name: ["drawn"] for name in texts}
    _write(
        root,
        S.SIMILARITY_QUALITY,
        [{**quality, "encoder_id": [encoder_id], "bucket_histogram": [[]], "mean_cosine": [0.4]}],
    )
    _write(
        root,
        S.RECOMMENDATIONS,
        (
            _offers(draw, first, min(first + BLOCK, args.users), args, encoder_id)
            for first in range(0, args.users, BLOCK)
        ),
    )


def _write(root: Path, table: Table, blocks: Sequence[dict[str, Any]] | Iterator[dict[str, Any]]) -> None:
    place, schema = new_table(root, table)
    batches = (batch for block in blocks for batch in pa.Table.from_pydict(block, schema=schema).to_batches())
    write_deltalake(place, pa.RecordBatchReader.from_batches(schema, batches), mode="append")


def _items(first: int, last: int, kinds: Sequence[str]) -> dict[str, Any]:
    numbers = range(first, last)
    return {
        "item_id": [_item(i) for i in numbers],
        "title": [f"A {kinds[i % 8]} of the season, number {i}" for i in numbers],
        "categories": [[kinds[i % 8]] for i in numbers],
        "price": [5.0 + i % 200 for i in numbers],
        "added_at": [WHEN] * len(numbers),
        "attributes": [[("colour", kinds[i % 7]), ("pattern", "plain")] for i in numbers],
    }


def _images(first: int, hashes: Sequence[str], content: bytes) -> dict[str, Any]:
    numbers = range(first, first + len(hashes))
    return {
        "item_id": [_item(i) for i in numbers],
        "path": [f"{i}.jpg" for i in numbers],
        "sha256": hashes,
        "width": [64] * len(hashes),
        "height": [64] * len(hashes),
        "format": ["JPEG"] * len(hashes),
        "bytes": [len(content)] * len(hashes),
        "modified": [WHEN] * len(hashes),
        "content": [content] * len(hashes),
    }


def _interactions(draw: np.random.Generator, args: argparse.Namespace) -> dict[str, Any]:
    rows = args.users
    popular = np.minimum((args.items * draw.random(rows) ** 3).astype(int), args.items - 1)
    return {
        "user_id": [_user(u) for u in draw.integers(0, args.users, rows)],
        "item_id": [_item(i) for i in popular],
        "event": ["view"] * rows,
        "rating": [None] * rows,
        "weight": [1.0] * rows,
        "timestamp": [WHEN] * rows,
    }


def _neighbors(
    draw: np.random.Generator, first: int, last: int, args: argparse.Namespace, encoder_id: str
) -> dict[str, Any]:
    rows = (last - first) * args.k
    ids = np.array([_item(i) for i in range(args.items)], dtype=object)
    cosine = -np.sort(-draw.uniform(0.4, 1.0, (last - first, args.k)).astype(np.float32), axis=1)
    return {
        "encoder_id": [encoder_id] * rows,
        "item_id": np.repeat(ids[first:last], args.k),
        "rank": np.tile(np.arange(1, args.k + 1, dtype=np.int32), last - first),
        "neighbor_id": ids[draw.integers(0, args.items, rows)],
        "cosine": cosine.ravel(),
        "distance": np.zeros(rows, dtype=np.float32),
    }


def _offers(
    draw: np.random.Generator, first: int, last: int, args: argparse.Namespace, encoder_id: str
) -> dict[str, Any]:
    rows = (last - first) * args.list
    parts = draw.random((rows, len(PARTS))) * [0.4, 0.2, 0.3, 0.1, 0.1, 0.0]
    source = np.array([*SOURCE_NAMES, "popularity"], dtype=object)[parts.argmax(axis=1)]
    because = draw.integers(0, args.items, rows)
    return {
        "user_id": np.repeat(np.array([_user(u) for u in range(first, last)], dtype=object), args.list),
        "rank": np.tile(np.arange(1, args.list + 1, dtype=np.int32), last - first),
        "item_id": [_item(i) for i in draw.integers(0, args.items, rows)],
        "score": parts.sum(axis=1),
        **{f"score_{part}": parts[:, column] for column, part in enumerate(PARTS)},
        "source": source,
        "proposed_by": [[name] for name in source],
        "because_item_id": [_item(i) for i in because],
        "because": [{}] * rows,
        "reason": [f"Looks like “A thing of the season, number {i}”, which you viewed" for i in because],
        "model_id": ["als-0123456789ab"] * rows,
        "encoder_id": [encoder_id] * rows,
    }


def _commit_again(args: argparse.Namespace, root: Path, pid: int) -> None:
    """One user more: a small commit, after which the service loads the whole table again."""
    schema = to_arrow_schema(S.RECOMMENDATIONS.schema, timezone="UTC")
    encoder_id = pa.table(DeltaTable(str(root / "encoders")).to_pyarrow_table())["encoder_id"][0].as_py()
    rows = _offers(np.random.default_rng(pid), args.users, args.users + 1, args, encoder_id)
    write_deltalake(str(root / "recommendations"), pa.Table.from_pydict(rows, schema=schema), mode="append")


def _print(result: dict[str, Any]) -> None:
    table = RichTable(title="The service under load", title_justify="left")
    table.add_column("what")
    table.add_column("value", justify="right")
    for name, value in result.items():
        table.add_row(name.replace("_", " "), f"{value:,.4g}" if isinstance(value, float) else str(value))
    console = Console(file=sys.stdout, width=110)
    console.print(table)
    missed = [f"{name} {result[name]:.1f} > {BARS[name]:g}" for name in result["bars_missed"]]
    console.print(f"Bars missed on this machine: {'; '.join(missed) or 'none'}.")
    print("RESULT", json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in result.items()}))


if __name__ == "__main__":
    sys.exit(main())
