"""The task that runs a job through spark-submit, and is judged by what stands in the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from vizrec_dags.days import since
from vizrec_dags.delta_log import Record, standing
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
    those of the run, and win. run_settings: what stands for those of the run, where an event brought others. tables:
    the folder of the tables that the job writes (templated). part: told apart in the run id where one DAG runs a job
    more than once on the same tables (templated). before: is called with the context and `tables` before each start
    of the job, in its slot of the pool, and raises where it must not start.

    A job whose record stands is not started: a task that is repeated changes nothing. A record counts whatever
    spark-submit's exit code, so that a driver whose end was not seen is not taken for a failure; and without a record,
    or with one that tells of a part only, a job is not done, whatever the exit code. Returns the record as a dict, for
    later tasks.
    """

    template_fields: Sequence[str] = (
        *SparkSubmitOperator.template_fields,
        "settings",
        "tables",
        "vizrec_run",
    )

    def __init__(
        self,
        *,
        job: str,
        settings: Sequence[str] = (),
        run_settings: Sequence[str] | None = None,
        tables: str = TABLES,
        part: str = "",
        pool: str = POOL,
        before: Callable[[Any, str], None] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("task_id", job)
        super().__init__(
            application=f"{HOME}/jobs/{job}.py",
            name=f"vizrec {RUN} {kwargs['task_id']}",
            application_args=["--config", CONFIG],
            conn_id=CONNECTION,
            pool=pool,
            **kwargs,
        )
        self.job = job
        self.settings = list(settings)
        self.run_settings = run_settings
        self.tables = tables
        self.before = before
        self.vizrec_run = f"{RUN}.{part}" if part else RUN

    def arguments(self, context: Context) -> list[str]:
        """The job's command line, when the templates are rendered."""
        of_run = overrides(context) if self.run_settings is None else self.run_settings
        pairs = [*of_run, f"tables.root={self.tables}", "tables.catalog=null", *self.settings]
        return [
            *(self.application_args or []),
            *("--run-id", self.vizrec_run),
            *(word for pair in pairs for word in ("--set", pair)),
        ]

    def execute(self, context: Context) -> dict[str, Any]:
        """Starts the job unless it is done, and judges it."""
        earlier = self._standing(context)
        if earlier is not None:
            self.log.info("Run %s of %s is committed: nothing is started", earlier.run_id, self.job)
            return _told(earlier)
        if self.before is not None:
            self.before(context, self.tables)
        self.application_args = self.arguments(context)
        failure: Exception | None = None
        try:
            super().execute(context)
        except (AirflowException, RuntimeError) as error:  # the second from a driver in cluster mode
            failure = error
        record = self._standing(context)
        if record is None:
            self._fail(failure)
        if failure is not None and record.outcome == "done":
            self.log.warning("spark-submit ended badly, but run %s is committed: %s", record.run_id, failure)
        for note in record.notes:
            self.log.info("%s: %s", self.job, note)
        return _told(record)

    def _standing(self, context: Context) -> Record | None:
        return standing(folder(self.tables), self.vizrec_run, self.job, since(context))

    def _fail(self, failure: Exception | None) -> None:
        process = getattr(self._hook, "_submit_sp", None)
        code = None if process is None else process.returncode
        if failure is None:
            raise AirflowException(
                f"spark-submit ended with exit code {code}, but table runs of {self.tables} has no record "
                f"that {self.job} of run {self.vizrec_run} is done: the driver was lost, or has left something out. "
                "The task may be tried again."
            )
        if code in _FINAL:
            raise AirflowFailException(
                f"{self.job} ended with exit code {code}: {_FINAL[code]}. Trying again will not help; the log above "
                f"says what to do.\n{failure}"
            ) from failure
        raise failure


def _told(record: Record) -> dict[str, Any]:
    return {
        "run_id": record.run_id,
        "stage": record.stage,
        "outcome": record.outcome,
        "tables": {name: dict(left) for name, left in record.tables.items()},
        "metrics": dict(record.metrics),
    }
