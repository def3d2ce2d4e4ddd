"""Tasks: a job through spark-submit, and the wait for one, both judged by what stands in the tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from vizrec_dags.delta_log import Record, record_of, records, undone
from vizrec_dags.settings import CONFIG, CONNECTION, HOME, POOL, RUN, TABLES, folder, overrides

if TYPE_CHECKING:
    from airflow.sdk import Context

# Exit codes of vizrec_spark/errors.py for what stays wrong however often it is tried, and argparse's own.
_FINAL = {
    2: "the configuration or the command line cannot be used",
    3: "the input cannot be used",
    6: "the encoder cannot be built",
    7: "the look-alikes miss the recall that was asked for",
    8: "the evaluation could not be believed",
}


class VizrecJobOperator(SparkSubmitOperator):
    """Runs ``jobs/<job>.py`` and looks in table `runs` whether it came to its end.

    job: the script's name, which is the stage's. settings: ``section.key=value`` pairs (templated) that come after
    those of the run, and win. tables: the folder of the tables that the job writes (templated). part: told apart in
    the run id where one DAG runs a job twice on the same tables.

    A job whose record stands is not started: a task that is repeated changes nothing. A record counts whatever
    spark-submit's exit code, so that a driver whose end was not seen is not taken for a failure; and without a record
    a job is not done, whatever the exit code. Returns the record as a dict, for later tasks.
    """

    template_fields: Sequence[str] = (
        *SparkSubmitOperator.template_fields,
        "settings",
        "tables",
        "vizrec_run",
    )

    def __init__(
        self, *, job: str, settings: Sequence[str] = (), tables: str = TABLES, part: str = "", **kwargs: Any
    ) -> None:
        kwargs.setdefault("task_id", job)
        super().__init__(
            application=f"{HOME}/jobs/{job}.py",
            name=f"vizrec {RUN} {kwargs['task_id']}",
            application_args=["--config", CONFIG],
            conn_id=CONNECTION,
            pool=POOL,
            **kwargs,
        )
        self.job = job
        self.settings = list(settings)
        self.tables = tables
        self.vizrec_run = f"{RUN}.{part}" if part else RUN

    def arguments(self, context: Context) -> list[str]:
        """The job's command line, when the templates are rendered."""
        pairs = [*overrides(context), f"tables.root={self.tables}", "tables.catalog=null", *self.settings]
        return [
            *(self.application_args or []),
            *("--run-id", self.vizrec_run),
            *(word for pair in pairs for word in ("--set", pair)),
        ]

    def execute(self, context: Context) -> dict[str, Any]:
        """Starts the job unless it is done, and judges it."""
        before = self._standing()
        if before is not None:
            self.log.info("Run %s of %s is committed: nothing is started", before.run_id, self.job)
            return _told(before)
        self.application_args = self.arguments(context)
        failure: Exception | None = None
        try:
            super().execute(context)
        except (AirflowException, RuntimeError) as error:  # the second from a driver in cluster mode
            failure = error
        record = self._standing()
        if record is None:
            self._fail(failure)
        if failure is not None and record.outcome == "done":
            self.log.warning("spark-submit ended badly, but run %s is committed: %s", record.run_id, failure)
        for note in record.notes:
            self.log.info("%s: %s", self.job, note)
        return _told(record)

    def _standing(self) -> Record | None:
        root = folder(self.tables)
        record = record_of(root, self.vizrec_run, self.job)
        if record is None:
            return None
        reason = undone(root, record)
        if reason is not None:
            self.log.info("The record of run %s of %s does not stand: %s", record.run_id, self.job, reason)
            return None
        return record

    def _fail(self, failure: Exception | None) -> None:
        process = getattr(self._hook, "_submit_sp", None)
        code = None if process is None else process.returncode
        if failure is None:
            raise AirflowException(
                f"spark-submit ended with exit code {code}, but run {self.vizrec_run} of {self.job} is not in table "
                f"runs of {self.tables}: the driver was lost. The task may be tried again."
            )
        if code in _FINAL:
            raise AirflowFailException(
                f"{self.job} ended with exit code {code}: {_FINAL[code]}. Trying again will not help; the log above "
                f"says what to do.\n{failure}"
            ) from failure
        raise failure


class EmbeddingsSensor(BaseSensorOperator):
    """Waits until stage `embed` has been through the pictures of this run's `ingest`.

    Whichever run of whichever DAG did it. Asks every minute and holds no slot in between.
    """

    template_fields: Sequence[str] = ("tables", "vizrec_run")

    def __init__(self, *, tables: str = TABLES, **kwargs: Any) -> None:
        super().__init__(
            mode="reschedule",
            poke_interval=kwargs.pop("poke_interval", 60),
            timeout=kwargs.pop("timeout", timedelta(hours=6).total_seconds()),
            **kwargs,
        )
        self.tables = tables
        self.vizrec_run = RUN

    def poke(self, context: Context) -> bool:
        """Whether the latest pictures are embedded. Raises: AirflowFailException where this run has loaded none."""
        root = folder(self.tables)
        ingested = record_of(root, self.vizrec_run, "ingest")
        if ingested is None:
            raise AirflowFailException(
                f"Run {self.vizrec_run} has no record of stage ingest in {self.tables}."
            )
        wanted = ingested.tables["images"]["version"]
        seen = max(
            (int(one.metrics["images_version"]) for one in records(root) if one.stage == "embed"), default=-1
        )
        self.log.info("Pictures of version %s are there, embedded are those of version %s", wanted, seen)
        return seen >= wanted


def _told(record: Record) -> dict[str, Any]:
    return {
        "run_id": record.run_id,
        "stage": record.stage,
        "outcome": record.outcome,
        "tables": {name: dict(left) for name, left in record.tables.items()},
        "metrics": dict(record.metrics),
    }
