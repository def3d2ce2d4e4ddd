"""The only place that builds a Spark session."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from subprocess import Popen

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from vizrec_spark.errors import SessionError

DELTA_PACKAGE = f"io.delta:delta-spark_4.2_2.13:{version('delta-spark')}"

_DEFAULTS = {
    "spark.jars.packages": DELTA_PACKAGE,
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    # Timestamps as pandas writes them to Parquet, which Spark would refuse; stage `ingest` knows them as counts.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    # A folder named brand=007 says 007, and not 7.
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    # Pictures travel to Python in Arrow batches: bound them by bytes, not by rows alone.
    "spark.sql.execution.arrow.maxBytesPerBatch": "64m",
    # One Python worker serves many tasks, so that a model is loaded once a worker and not once a task.
    "spark.python.worker.reuse": "true",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
}

# Without the second compiler Java reserves a fifth of the room for compiled code, and dies once that is full.
_QUICKLY = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"

UNSUMMED_FILES = {
    "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    "spark.hadoop.fs.AbstractFileSystem.file.impl": "org.apache.hadoop.fs.local.RawLocalFs",
}
"""Settings for many small tables on a local disk: Hadoop keeps a checksum beside each local file, and starts a
process (`chmod`, `readlink`) for each file and each checksum, which is much of what a small commit costs."""

SMALL_PLANS = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
"""Settings where queries are many and their rows few: to plan each anew behind every shuffle, to write code for it,
compile it and have it optimised costs more than all that gives."""


def submitted() -> bool:
    """Whether spark-submit started this process, so that its JVM and its settings are already there."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def build_session(
    app_name: str, conf: Mapping[str, str] | None = None, *, brief: bool = False
) -> SparkSession:
    """The session of this process, with Delta Lake on; `conf` (Spark settings) comes over the defaults.

    A JVM that is started here for a `brief` process, which is over in a minute or two, leaves its second, costly
    compiler alone: that takes a quarter off its CPU time. Executors in processes of their own are not touched.

    Under ``spark-submit`` the JVM already runs, so Delta must have come with it (``--packages`` or a
    properties file), and its flags win over the defaults. Started from Python, the JARs are resolved from
    Maven Central on first use, and what the JVM prints goes to a file, so that a terminal stays readable.

    Raises: SessionError when Java or Delta Lake is missing, or Spark does not start.
    """
    if not submitted() and not _java_found():
        raise SessionError("Spark needs a Java runtime and found none: install a JDK 17 or set JAVA_HOME.")
    # Workers must run this interpreter, which has the packages, not whatever `python3` is first on PATH.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(app_name)
    for key, value in settings(conf or {}, _given_to_submit()).items():
        builder = builder.config(key, value)
    running = submitted() or SparkSession.getActiveSession() is not None
    spark = builder.getOrCreate() if running else _start(builder, _QUICKLY if brief else "")
    _require_delta(spark)
    return spark


def own_session(shared: SparkSession, conf: Mapping[str, str], most_partitions: int) -> SparkSession:
    """A session of the same process with `conf` over the settings of `shared`, which nobody else sees.

    Its shuffles have a partition for each core of the cluster, and at most `most_partitions`.
    """
    spark = shared.newSession()
    partitions = str(min(most_partitions, shared.sparkContext.defaultParallelism))
    for key, value in {**shared.conf.getAll, "spark.sql.shuffle.partitions": partitions, **conf}.items():
        if spark.conf.isModifiable(key):
            spark.conf.set(key, value)
    return spark


def settings(conf: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """What to set on the session: the defaults, `conf` over them, less what spark-submit was `given`."""
    return {key: value for key, value in {**_DEFAULTS, **conf}.items() if key not in given}


def _given_to_submit() -> dict[str, str]:
    """The settings of a process that spark-submit started: its flags and properties file."""
    if not submitted():
        return {}
    SparkContext._ensure_initialized()
    return dict(SparkConf().getAll())


def _start(builder: SparkSession.Builder, options: str) -> SparkSession:
    # A name that nobody can foresee, readable by its owner alone.
    descriptor, name = tempfile.mkstemp(prefix="vizrec-spark-", suffix=".log")
    log = Path(name)
    try:
        with _output_to(descriptor), jvm_options(options):
            spark = builder.getOrCreate()
    except Exception as error:
        tail = log.read_text(errors="replace").strip().splitlines()[-5:]
        raise SessionError(
            f"Spark did not start: {_first_line(error)}\nThe end of its log, {log}:\n" + "\n".join(tail)
        ) from error
    finally:
        os.close(descriptor)
    atexit.register(_remove_or_name, log, spark.sparkContext._gateway.proc)  # type: ignore[union-attr]
    return spark


def _remove_or_name(log: Path, jvm: Popen[bytes]) -> None:
    """At the end of this process: removes what its JVM has printed, or says where it is if the JVM has died."""
    if jvm.poll() is None:
        log.unlink(missing_ok=True)
    else:
        print(
            f"Spark's Java process ended with code {jvm.returncode}; what it printed: {log}", file=sys.stderr
        )


@contextmanager
def jvm_options(options: str) -> Iterator[None]:
    """While the body runs, a JVM that is started gets `options`, and after them all that it would get without."""
    before = os.environ.get("SPARK_SUBMIT_OPTS")
    os.environ["SPARK_SUBMIT_OPTS"] = f"{options} {before or ''}".strip()
    try:
        yield
    finally:
        if before is None:
            del os.environ["SPARK_SUBMIT_OPTS"]
        else:
            os.environ["SPARK_SUBMIT_OPTS"] = before


@contextmanager
def _output_to(descriptor: int) -> Iterator[None]:
    """While the body runs, what this process and the children that it starts print goes to the file `descriptor`.

    The JVM inherits the descriptors when it is started here, and keeps them.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        for original, standard in zip(saved, (1, 2), strict=True):
            os.dup2(original, standard)
            os.close(original)


def _java_found() -> bool:
    home = os.environ.get("JAVA_HOME")
    return bool(shutil.which("java") or (home and shutil.which("java", path=f"{home}/bin")))


def _require_delta(spark: SparkSession) -> None:
    loader = spark._jvm.Thread.currentThread().getContextClassLoader()  # type: ignore[union-attr]
    try:
        loader.loadClass("io.delta.sql.DeltaSparkSessionExtension")
    except Exception as error:
        raise SessionError(
            "Delta Lake is not on Spark's class path. Start the job with "
            f"`spark-submit --packages {DELTA_PACKAGE} ...` or "
            "`spark-submit --properties-file conf/spark/local.conf ...`."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
