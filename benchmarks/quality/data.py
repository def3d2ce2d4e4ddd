"""A folder, or a generated shop, as tables: stages `ingest`, `embed` and `similar`, run once for every protocol."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vizrec_spark.app.folder import folder_overrides
from vizrec_spark.app.stages import BY_NAME
from vizrec_spark.config import Config, load_config
from vizrec_spark.demo import write_shop
from vizrec_spark.similar.vectors import item_pictures, item_vectors
from vizrec_spark.stage import StageContext
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.schemas import EMBEDDINGS, IMAGES, INTERACTIONS


def configuration(args: argparse.Namespace, folder: Path) -> Config:
    """What the arguments say; a generated shop is written first."""
    data = Path(args.data) if args.data is not None else folder / "landing"
    if args.data is None:
        shop = write_shop(data, n_items=args.items, n_users=args.users, n_events=args.events, seed=args.seed)
        print(shop, flush=True)
    places = {
        "tables.root": str(folder / "tables"),
        "embed.cache": str(folder / "encoders"),
        "als.checkpoint_dir": str(folder / "checkpoints"),
        "embed.encoder": args.encoder,
    }
    pairs = [f"{key}={json.dumps(value)}" for key, value in places.items()]
    return load_config(None, [*folder_overrides(data), *pairs, *args.overrides])


def prepare(spark: SparkSession, config: Config) -> TableStore:
    """The tables after `ingest`, `embed` and `similar`; what has been done before is not done again."""
    tables = TableStore(spark, config.tables, Stamp("quality", "benchmark", config.fingerprint()))
    for name in ("ingest", "embed", "similar"):
        result = BY_NAME[name].run(StageContext(spark, config, tables, "quality"))
        print(f"{name}: {'; '.join(result.notes)}", flush=True)
    return tables


def positives(tables: TableStore) -> DataFrame:
    """Rows of table `interactions`, every rating a positive: a low one has weight 1 like the others."""
    weight = F.when((F.col("weight") == 0) | (F.col("event") == "rating"), 1.0).otherwise(F.col("weight"))
    return tables.read(INTERACTIONS).withColumns({"weight": weight, "rating": F.lit(None).cast("double")})


def looks(tables: TableStore, config: Config) -> DataFrame:
    """`item_id`, `vector` by the configured encoder."""
    encoder = current_encoder(tables, config.embed)
    embeddings = tables.read(EMBEDDINGS).where(F.col("encoder_id") == encoder)
    return item_vectors(item_pictures(tables.read(IMAGES), embeddings), embeddings)
