"""One catalogue and one log in every format that `ingest` reads: the same records come out."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import Row, SparkSession

from tests.landing import put
from vizrec_spark.config.models import CatalogueColumns, CatalogueConfig, InteractionsConfig, SourceConfig
from vizrec_spark.errors import InputError
from vizrec_spark.ingest.catalogue import catalogue_columns, validate_catalogue
from vizrec_spark.ingest.interactions import interaction_columns, validate_interactions
from vizrec_spark.ingest.judge import accepted, instant
from vizrec_spark.ingest.sources import read_source
from vizrec_spark.tables.schemas import INTERACTIONS, ITEMS

PRODUCTS = pd.DataFrame(
    {
        "sku": ["7", 'b, "the" second', "größe"],
        "name": ["Red shoe", None, "two\nlines"],
        "department": ["shoes|red", "bags", None],
        "cost": ["12.5", "3", None],
        "since": ["1700000000", None, "2024-02-29T12:00:00Z"],
        "photo": ["a.jpg", None, "b.jpg|c.jpg"],
        "brand": ["Acme", None, "größer"],
    },
    dtype=object,
)
CLICKS = pd.DataFrame(
    {
        "customer": ["1", "2", "2"],
        "product": ["7", "7", "größe"],
        "action": ["click", "order", "click"],
        "at": ["1700000000000", "1700000000001", "1700000060000"],
    },
    dtype=object,
)
FORMATS = ["csv", "json", "parquet", "delta"]


def catalogue(path: Path, kind: str) -> CatalogueConfig:
    names = {"item_id": "sku", "title": "name", "categories": "department", "price": "cost"}
    names |= {"added_at": "since", "image": "photo"}
    chosen = {"path": str(path), "format": kind, "columns": {**names, "attributes": ("brand",)}}
    options = {"multiLine": "true"} if kind == "csv" else {}
    return CatalogueConfig.model_validate({**chosen, "options": options})


def log(path: Path, kind: str) -> InteractionsConfig:
    names = {"user_id": "customer", "item_id": "product", "event": "action", "timestamp": "at"}
    events = {"click": 1.0, "order": 5.0}
    chosen = {"path": str(path), "format": kind, "columns": names, "events": events, "timestamp": "epoch_ms"}
    return InteractionsConfig.model_validate(chosen)


def write(spark: SparkSession, frame: pd.DataFrame, path: Path, kind: str) -> None:
    """`frame` as a shop would hand it over in `kind`: text in CSV, numbers and lists where a format has them."""
    if kind == "csv":
        frame.to_csv(path, index=False, lineterminator="\r\n")
    elif kind == "json":
        lines = [{k: v for k, v in row.items() if v is not None} for row in frame.to_dict("records")]
        path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")
    else:
        typed = spark.createDataFrame(frame, ", ".join(f"`{name}` string" for name in frame.columns))
        if "cost" in frame:
            typed = typed.selectExpr(
                "sku",
                "name",
                "split(department, '[|]') department",
                "cast(cost as double) cost",
                "since",
                "photo",
                "brand",
            )
        if "at" in frame:
            typed = typed.selectExpr("customer", "product", "action", "cast(at as bigint) at")
        typed.write.format(kind).save(str(path))


def read(spark: SparkSession, items: CatalogueConfig, events: InteractionsConfig) -> dict[str, list[Row]]:
    raw = read_source(spark, items, catalogue_columns(items.columns), "ingest.catalogue", items.separator)
    good = accepted(validate_catalogue(raw, items))
    raw = read_source(spark, events, interaction_columns(events.columns), "ingest.interactions")
    done = accepted(validate_interactions(raw, good, events))
    return {
        "items": sorted(good.select(*ITEMS.columns, "image").collect(), key=lambda row: row.item_id),
        "events": sorted(done.select(*INTERACTIONS.columns).collect(), key=repr),
    }


def test_every_format_gives_the_same_records(spark: SparkSession, tmp_path: Path) -> None:
    found = {}
    for kind in FORMATS:
        for name, frame in (("products", PRODUCTS), ("clicks", CLICKS)):
            write(spark, frame, tmp_path / f"{name}.{kind}", kind)
        found[kind] = read(
            spark, catalogue(tmp_path / f"products.{kind}", kind), log(tmp_path / f"clicks.{kind}", kind)
        )
    first = found["csv"]
    assert [row.item_id for row in first["items"]] == ["7", 'b, "the" second', "größe"]
    shoe, bag, odd = first["items"]
    assert (shoe.title, shoe.categories, shoe.price, shoe.attributes, shoe.image) == (
        "Red shoe", ["shoes", "red"], 12.5, {"brand": "Acme"}, ["a.jpg"],
    )  # fmt: skip
    assert (bag.title, bag.price, bag.added_at, bag.attributes, bag.image) == (None, 3.0, None, {}, [])
    assert (odd.title, odd.categories, odd.image) == ("two\nlines", [], ["b.jpg", "c.jpg"])
    assert [row.weight for row in first["events"]] == [1.0, 5.0, 1.0]
    assert [row.timestamp.microsecond for row in first["events"]] == [0, 1000, 0]
    for kind in FORMATS[1:]:
        assert found[kind] == first, kind


def ids(spark: SparkSession, source: SourceConfig) -> list[str | None]:
    return [row.item_id for row in read_source(spark, source, ["item_id"], "ingest.catalogue").collect()]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffitem_id,title\n1,a\n2,b\n",
        "item_id,title\r\n1,a\r\n2,b\r\n",
        'item_id,title\n"1","a"\n"2","b"',
        "title,item_id\na, 1 \nb,2\n",
    ],
    ids=["byte-order mark", "CRLF", "no last newline", "other order and blanks"],
)
def test_csv_as_programs_write_it(spark: SparkSession, tmp_path: Path, text: str) -> None:
    file = put(tmp_path, "items.csv", text)
    assert ids(spark, SourceConfig(path=str(file))) == ["1", "2"]


def test_a_csv_of_nothing_but_a_header_has_no_records(spark: SparkSession, tmp_path: Path) -> None:
    file = put(tmp_path, "items.csv", "item_id,title\n")
    assert ids(spark, SourceConfig(path=str(file))) == []


def test_a_csv_without_a_header_is_refused_by_name(spark: SparkSession, tmp_path: Path) -> None:
    file = put(tmp_path, "items.csv", "")
    with pytest.raises(
        InputError, match=r"ingest\.catalogue: .*items\.csv has no column 'item_id'; it is empty"
    ):
        ids(spark, SourceConfig(path=str(file)))


def test_ids_that_pandas_made_floating_point_are_whole_again(spark: SparkSession, tmp_path: Path) -> None:
    frame = pd.DataFrame({"item_id": [1.0, None, 12345678.0, 2.5]})
    frame.to_parquet(tmp_path / "items.parquet")
    source = SourceConfig(path=str(tmp_path / "items.parquet"), format="parquet")
    assert ids(spark, source) == ["1", None, "12345678", "2.5"]


def test_long_ids_stay_apart_beside_numbers_with_a_point(spark: SparkSession, tmp_path: Path) -> None:
    """Doubles would make the first two equal."""
    lines = [
        "1234567890123456789",
        "1234567890123456788",
        "7.0",
        "2.5",
        "1e5",
        "NaN",
        "null",
        "1e-5000000",
        "9e99999999",
    ]
    put(tmp_path, "items.json", "".join(f'{{"item_id": {line}}}\n' for line in lines))
    source = SourceConfig(path=str(tmp_path / "items.json"), format="json")
    assert ids(spark, source) == [*lines[:2], "7", "2.5", "100000", None, None, *lines[7:]]


def test_what_folders_are_named_is_text(spark: SparkSession, tmp_path: Path) -> None:
    for name, title in (("007", "a"), ("7", "b"), ("1e5", "c")):
        put(tmp_path / "items" / f"item_id={name}", "part.csv", f"title\n{title}\n")
    assert sorted(map(str, ids(spark, SourceConfig(path=str(tmp_path / "items"))))) == ["007", "1e5", "7"]


def test_elements_of_lists_may_hold_the_separator_and_pieces_lose_their_blanks(
    spark: SparkSession, tmp_path: Path
) -> None:
    frame = pd.DataFrame(
        {
            "item_id": ["list", "empty"],
            "categories": [["Home|Garden", " 0 to 9\u00a0"], []],
            "image": [["a|b.jpg", "c.jpg"], []],
        }
    )
    frame.to_parquet(tmp_path / "items.parquet")
    put(tmp_path, "items.csv", 'item_id,categories,image\ntext," 0 |\u00a01 |","a.jpg|\n0b.jpg"\n')
    found = {}
    for kind in ("parquet", "csv"):
        config = CatalogueConfig(
            path=str(tmp_path / f"items.{kind}"),
            format=kind,
            columns=CatalogueColumns(title=None, categories="categories"),
        )
        lists = (config.columns.categories, config.columns.image)
        raw = read_source(spark, config, catalogue_columns(config.columns), "x", config.separator, lists)
        found |= {
            row.item_id: (row.categories, row.image) for row in validate_catalogue(raw, config).collect()
        }
    assert found == {
        "list": (["Home|Garden", "0 to 9"], ["a|b.jpg", "c.jpg"]),
        "empty": ([], []),
        "text": (["0", "1"], ["a.jpg", "0b.jpg"]),
    }


def test_timestamps_that_pandas_writes_to_parquet_are_read(spark: SparkSession) -> None:
    """Parquet's nanoseconds come as plain counts of 18 or 19 digits; a few digits fewer are seconds or nothing."""
    texts = [
        "1735689600123456789",
        "99999999999999999",
        "999999999999999999",
        "9999999999999999999",
        "1735689600",
    ]
    frame = spark.createDataFrame([(n, t) for n, t in enumerate(texts)], "n int, at string")
    for unit, last in (("iso", None), ("epoch_s", 1735689600.0)):
        found = frame.select("n", instant("at", unit).cast("double").alias("s")).orderBy("n").collect()
        assert [row.s for row in found] == [1735689600.123456, None, 999999999.999999, None, last]


def test_a_log_written_by_pandas_is_read_with_its_times(spark: SparkSession, tmp_path: Path) -> None:
    moment = pd.Timestamp("2025-01-01T12:00:00.5", tz="UTC").as_unit("ns")
    pd.DataFrame({"at": [moment, pd.NaT]}).to_parquet(tmp_path / "log.parquet")
    source = SourceConfig(path=str(tmp_path / "log.parquet"), format="parquet")
    raw = read_source(spark, source, ["at"], "ingest.interactions")
    found = [row.s for row in raw.select(instant("at", "iso").cast("double").alias("s")).collect()]
    assert sorted(found, key=str) == [moment.timestamp(), None]


def test_column_names_are_taken_literally(spark: SparkSession, tmp_path: Path) -> None:
    file = put(tmp_path, "items.csv", "a`b,the.title,x y`\n1,Mug,red\n")
    columns = CatalogueColumns(item_id="a`b", title="the.title", image=None, attributes=("x y`",))
    config = CatalogueConfig(path=str(file), columns=columns)
    raw = read_source(spark, config, catalogue_columns(columns), "ingest.catalogue")
    (row,) = validate_catalogue(raw, config).collect()
    assert (row.item_id, row.title, row.attributes, row.reason) == ("1", "Mug", {"x y`": "red"}, None)
