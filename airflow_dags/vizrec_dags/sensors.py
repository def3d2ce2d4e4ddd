"""The wait for the embeddings of a run's own pictures, whichever run of whichever DAG makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException

from vizrec_dags.days import since
from vizrec_dags.delta_log import holding, pictures_seen, records_around
from vizrec_dags.settings import EMBEDDED, RUN, SHORT, TABLES, folder

if TYPE_CHECKING:
    from airflow.sdk import Context

# Stage embed may have read the pictures before the record of `ingest` was there, and others may have ended meanwhile.
_BEHIND = 50


class EmbeddingsSensor(BaseSensorOperator):
    """Waits until stage `embed` has been through the pictures of this run's `ingest`, with the encoder of this run.

    Asks every minute and holds no slot in between.
    """

    template_fields: Sequence[str] = ("tables", "vizrec_run")

    def __init__(self, *, tables: str = TABLES, **kwargs: Any) -> None:
        # The time-out is that of the whole wait, the other limit that of one look.
        kept = {"poke_interval": 60, "timeout": EMBEDDED.total_seconds(), "execution_timeout": SHORT}
        super().__init__(mode="reschedule", **{**kept, **kwargs})
        self.tables = tables
        self.vizrec_run = RUN

    def poke(self, context: Context) -> bool:
        """Whether the pictures are embedded. Raises: AirflowFailException where this run has loaded none."""
        run, root = self.vizrec_run, folder(self.tables)
        near = list(records_around(root, run, "ingest", _BEHIND, since(context)))
        ingests = (one for one in near if (one.run_id, one.stage) == (run, "ingest"))
        ingested = next(holding(root, ingests), None)
        if ingested is None:
            raise AirflowFailException(
                f"Run {run} has no record of stage ingest in {self.tables} that stands."
            )
        wanted, encoder = ingested.tables["images"]["version"], ingested.encoder
        seen = pictures_seen(root, near, encoder, wanted)
        been = "has been" if seen else "has not been"
        self.log.info("Pictures of version %s are there; stage embed %s through them", wanted, been)
        return seen
