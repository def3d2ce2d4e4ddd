"""Which ALS model the tables of factors hold, and which is in service: the last that job `promote` has written down."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from vizrec_spark.errors import TableError
from vizrec_spark.tables.schemas import ITEM_FACTORS, PROMOTIONS, USER_FACTORS
from vizrec_spark.tables.store import TableStore


@dataclass(frozen=True)
class Factors:
    """One ALS model: user_factors and item_factors are rows of the tables of that name, at one version; model_id is
    None where there is none, and both are empty."""

    model_id: str | None
    user_factors: DataFrame
    item_factors: DataFrame


def latest_factors(tables: TableStore) -> Factors:
    """What stage `als` has learned last. Raises: TableError as `TableStore.read`, and for tables of two models."""
    return _of_one_model(tables.pinned(USER_FACTORS), tables.pinned(ITEM_FACTORS))


def factors_at(tables: TableStore, user_version: int, item_version: int) -> Factors:
    """What two versions of the tables hold. Raises: TableError when they are gone, or of two models."""
    return _of_one_model(
        tables.read_kept(USER_FACTORS, user_version), tables.read_kept(ITEM_FACTORS, item_version)
    )


def in_service(tables: TableStore) -> Row | None:
    """The last row of table `promotions`; None before the first promotion."""
    return tables.read_or_empty(PROMOTIONS).orderBy(F.desc("number"), "run_id").first()


def promoted_factors(tables: TableStore) -> Factors | None:
    """The model in service, whatever was learned since; None before the first promotion.

    Raises: TableError when the tables do not have it any more.
    """
    promotion = in_service(tables)
    if promotion is None:
        return None
    mend = "Promote a model anew (weekly_retrain, or evaluate and promote), or set recommend.model to latest."
    try:
        found = factors_at(tables, promotion.user_factors_version, promotion.item_factors_version)
    except TableError as error:
        raise TableError(f"The promoted model {promotion.model_id} cannot be had. {error} {mend}") from error
    if found.model_id != promotion.model_id:  # the tables were made anew, or taken back to before it
        raise TableError(
            f"The promoted model is {promotion.model_id}, but versions {promotion.user_factors_version} and "
            f"{promotion.item_factors_version} of the factors hold {found.model_id}. {mend}"
        )
    return found


def _of_one_model(user_factors: DataFrame, item_factors: DataFrame) -> Factors:
    found = [factors.select("model_id").first() for factors in (user_factors, item_factors)]
    users, items = (row.model_id if row is not None else None for row in found)
    if users != items:
        raise TableError(
            f"user_factors holds model {users} and item_factors model {items}: a run of stage `als` is under "
            "way, or died between them: let it end, or run it again."
        )
    return Factors(users, user_factors, item_factors)
