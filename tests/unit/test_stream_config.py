"""Section `stream`: what it refuses, and what the source is told."""

from __future__ import annotations

import pytest

from vizrec_spark.config import load_config
from vizrec_spark.config.models import StreamConfig
from vizrec_spark.errors import ConfigError
from vizrec_spark.stream.source import reader_options


def test_kafka_needs_servers_and_a_topic() -> None:
    for pairs in ([], ["stream.servers=a:1"], ["stream.topic=t"]):
        with pytest.raises(ConfigError, match="needs `servers`"):
            load_config(None, ["stream.source=kafka", *pairs])
    assert (
        load_config(None, ["stream.source=kafka", "stream.servers=a:1", "stream.topic=t"]).stream.topic == "t"
    )


def test_options_win_over_what_is_usual_and_secrets_come_from_the_environment() -> None:
    config = StreamConfig(
        source="kafka",
        servers="a:1,b:2",
        topic="t",
        max_per_batch=7,
        options={"startingOffsets": "latest"},
        secret_options={"kafka.sasl.jaas.config": "JAAS"},
    )
    assert reader_options(config, {"JAAS": "p4ss", "OTHER": "x"}) == {
        "kafka.bootstrap.servers": "a:1,b:2",
        "subscribe": "t",
        "startingOffsets": "latest",
        "maxOffsetsPerTrigger": "7",
        "kafka.sasl.jaas.config": "p4ss",
    }
    assert "p4ss" not in config.model_dump_json()
    with pytest.raises(ConfigError, match="JAAS is not set"):
        reader_options(config, {})
    usual = reader_options(StreamConfig(max_bytes_per_batch=9), {})
    assert usual == {"maxBytesPerTrigger": "9", "maxFileAge": "365d"}
    # The source of files takes only one of the two.
    by_files = reader_options(StreamConfig(options={"maxFilesPerTrigger": "5"}), {})
    assert by_files == {"maxFilesPerTrigger": "5", "maxFileAge": "365d"}


def test_secrets_do_not_go_into_plain_options() -> None:
    for name in ("kafka.sasl.jaas.config", "kafka.ssl.keystore.password", "kafka.SSL.Key.Password"):
        with pytest.raises(ConfigError, match="secret_options"):
            load_config(None, ["stream.options=" + f'{{"{name}": "x"}}'])


def test_bare_ratings_need_a_weight_in_the_stream_too() -> None:
    pairs = ["stream.columns.event=null", "stream.columns.rating=stars"]
    assert load_config(None, pairs).stream.columns.event is None
    with pytest.raises(ConfigError, match="its weight"):
        load_config(None, [*pairs, 'ingest.interactions.events={"view": 1.0}'])
