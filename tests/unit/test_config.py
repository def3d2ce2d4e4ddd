"""Configuration: defaults, files, --set, and what is refused before Spark starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from vizrec_spark.config import Config, load_config, save_config, setting
from vizrec_spark.config.load import known_keys
from vizrec_spark.errors import ConfigError

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration file into a folder of its own."""

    def write_file(text: str, name: str = "own.yml") -> Path:
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        return file

    return write_file


def fault(*pairs: str, path: Path | None = None) -> str:
    """The message with which the configuration is refused."""
    with pytest.raises(ConfigError) as refused:
        load_config(path, pairs)
    return str(refused.value)


# Files and their order


def test_without_anything_the_defaults_hold() -> None:
    config = load_config()
    assert config == Config()
    assert config.embed.encoder == "keras.applications:ResNet50"


def test_an_override_file_names_differences_only(write: Write) -> None:
    write("similar: {k: 7, bits: 9}\nals: {rank: 8}\n", "base.yml")
    config = load_config(write("similar:\n  k: 11\n"))
    assert config.similar.k == 11
    assert config.similar.bits == 9
    assert config.als.rank == 8
    assert config.similar.seed == Config().similar.seed


def test_base_alone_and_a_file_without_base(write: Write) -> None:
    own = write("similar: {k: 5}\n")
    assert load_config(own).similar.k == 5
    assert load_config(write("als: {rank: 8}\n", "base.yml")).als.rank == 8


def test_set_wins_over_files_and_the_last_one_wins(write: Write) -> None:
    own = write("similar: {k: 5}\n")
    assert load_config(own, ["similar.k=6", "similar.k=7"]).similar.k == 7


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "---\n"])
def test_an_empty_file_is_no_difference(write: Write, text: str) -> None:
    assert load_config(write(text)) == Config()


def test_a_section_of_nothing_is_refused(write: Write) -> None:
    assert "embed" in fault(path=write("embed:\n"))


@pytest.mark.parametrize(
    ("pair", "read", "expected"),
    [
        ("tables.catalog=null", lambda c: c.tables.catalog, None),
        ("tables.root=a=b", lambda c: c.tables.root, "a=b"),
        ("spark.master=local[*]", lambda c: c.spark.master, "local[*]"),
        ('spark.conf={"spark.ui.enabled": "false"}', lambda c: c.spark.conf, {"spark.ui.enabled": "false"}),
        ("embed.input_size=[224, 192]", lambda c: c.embed.input_size, (224, 192)),
        ("embed.preprocessing={mean: 127.5, scale: 127.5}", lambda c: c.embed.preprocessing.scale, 127.5),
        ("embed.preprocessing=caffe", lambda c: c.embed.preprocessing, "caffe"),
        (
            "ingest.catalogue.columns.attributes=[colour]",
            lambda c: c.ingest.catalogue.columns.attributes,
            ("colour",),
        ),
        ("ingest.users.path=users.csv", lambda c: c.ingest.users.path, "users.csv"),
        ("recommend.weights.cf=1", lambda c: c.recommend.weights.cf, 1.0),
    ],
)
def test_set_reads_its_value_as_yaml(pair: str, read: Callable[[Config], Any], expected: Any) -> None:
    assert read(load_config(None, [pair])) == expected


# Traps of YAML


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", ".001", "0.001", "+1E-3"])
def test_a_number_may_be_written_as_people_write_it(text: str) -> None:
    assert load_config(None, [f"als.regularization={text}"]).als.regularization == 0.001


@pytest.mark.parametrize("word", ["no", "NO", "off", "yes", "on", "y"])
def test_words_that_yaml_1_1_takes_for_booleans_stay_words(word: str) -> None:
    assert load_config(None, [f"ingest.users.column={word}"]).ingest.users.column == word


@pytest.mark.parametrize(("word", "value"), [("true", True), ("False", False)])
def test_booleans(word: str, value: bool) -> None:
    options = load_config(None, [f"embed.options={{include_preprocessing: {word}}}"]).embed.options
    assert options["include_preprocessing"] is value


@pytest.mark.parametrize("word", [".nan", ".inf", "-.inf"])
def test_numbers_must_be_finite(word: str) -> None:
    assert "als.alpha" in fault(f"als.alpha={word}")


def test_a_key_given_twice_is_refused_with_its_line(write: Write) -> None:
    message = fault(path=write("als:\n  rank: 8\n  alpha: 1\n  rank: 9\n"))
    assert "`rank` is given twice" in message
    assert "line 4" in message
    assert "own.yml" in message


def test_a_merged_key_may_be_overridden(write: Write) -> None:
    own = write("als: &als {rank: 8, alpha: 2.0}\nals: {}\n")
    assert "given twice" in fault(path=own)
    text = "ingest:\n  catalogue: &source {path: a, format: json}\n  users: {<<: *source, path: b}\n"
    users = load_config(write(text)).ingest.users
    assert (users.path, users.format) == ("b", "json")


@pytest.mark.parametrize(
    "text",
    ["- similar\n", "similar\n", "similar: {k: [}\n", "? [a, b]\n: 1\n", "similar:\n\tk: 1\n", "a: *b\n"],
)
def test_what_is_not_a_configuration_at_all(write: Write, text: str) -> None:
    assert "own.yml" in fault(path=write(text))


def test_unreadable_files(tmp_path: Path) -> None:
    assert "none.yml" in fault(path=tmp_path / "none.yml")
    assert str(tmp_path) in fault(path=tmp_path)
    (tmp_path / "latin.yml").write_bytes("tables: {root: 'größe'}".encode("latin-1"))
    assert "UTF-8" in fault(path=tmp_path / "latin.yml")


@pytest.mark.parametrize("pair", ["similar.k", "=5", "similar..k=5", ".k=5", "similar.k=[1"])
def test_a_set_that_is_none(pair: str) -> None:
    assert repr(pair) in fault(pair)


def test_the_reader_keeps_the_options_without_which_records_vanish() -> None:
    message = fault("ingest.interactions.options={mode: DROPMALFORMED}")
    assert "ingest.interactions.options" in message and "so that no record is lost" in message


# What is refused


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        (["similar.plan=partitioned", "similar.method=flat"], "choose auto, cells, lsh or exact"),
        (["similar.plan=partitioned", "similar.per_category=5"], "needs the shared plan"),
        (
            ["similar.filters.min_cosine=0.9", "similar.near_duplicates.cosine=0.8"],
            "lower the one or raise the other",
        ),
    ],
)
def test_settings_that_do_not_go_together(pairs: list[str], told: str) -> None:
    message = fault(*pairs)
    assert "similar" in message and told in message


@pytest.mark.parametrize(
    ("pair", "nearest"),
    [
        ("similar.kk=5", "similar.k"),
        ("similar.bitz=5", "similar.bits"),
        ("simular.k=5", "similar"),
        ("als.ranks=5", "als.rank"),
        ("embed.batchsize=5", "embed.batch_size"),
        ("als.halflife_days=5", "als.half_life_days"),
        ("ingest.catalogue.columns.item=x", "ingest.catalogue.columns.item_id"),
        ("encoder=x", "embed.encoder"),
        ("recommend.candidates.popularty=5", "recommend.candidates.popularity"),
        ("embed.preprocessing={mean: 1.0, scal: 2.0}", "embed.preprocessing.scale"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(pair: str, nearest: str) -> None:
    message = fault(pair)
    assert "unknown key" in message
    assert f"did you mean `{nearest}`?" in message


def test_a_key_like_nothing_known() -> None:
    message = fault("zzzzzz=1")
    assert "zzzzzz: unknown key." in message
    assert "did you mean" not in message


@pytest.mark.parametrize(
    ("pair", "expected", "got"),
    [
        ("similar.k=many", "valid integer", "'many'"),
        ("similar.k=5.0", "valid integer", "5.0"),
        ("similar.k='5'", "valid integer", "'5'"),
        ("similar.k=true", "valid integer", "True"),
        ("als.alpha=high", "valid number", "'high'"),
        ("tables.root=5", "valid string", "5"),
        ("tables.root=2024-05-31", "valid string", "2024"),
        ("spark.conf={spark.sql.shuffle.partitions: 4}", "valid string", "4"),
        ("embed.input_size=[224]", "embed.input_size", ""),
        ("ingest.images.suffixes=jpg", "valid tuple", "'jpg'"),
    ],
)
def test_a_wrong_type_says_what_was_expected_and_what_came(pair: str, expected: str, got: str) -> None:
    message = fault(pair)
    assert pair.split("=")[0] in message
    assert expected in message
    assert got in message


@pytest.mark.parametrize(
    "pair",
    [
        "similar.k=0",
        "similar.k=1001",
        "similar.target_recall=1.0",
        "similar.method=fast",
        "similar.bits=25",
        "als.rank=-1",
        "als.max_weight=0",
        "tables.root=",
        "tables.root=''",
        "tables.catalog=shop",
        "tables.catalog=a.b.c",
        "tables.catalog=a.b; DROP",
        "embed.max_failed_share=1.5",
        "als.regularization=0",
        "embed.input_size=[224, 8]",
        "embed.preprocessing=imagenet",
        "embed.preprocessing={mean: 1.0, scale: 0}",
        "ingest.interactions.timestamp=unix",
        "ingest.interactions.events={view: 0}",
        "ingest.interactions.events={}",
        "ingest.catalogue.format=xlsx",
        "ingest.images.max_pixels=0",
        "recommend.half_life_days=0",
        "report.thumbnail=8",
        "ingest.images.suffixes=[.jpg]",
        "ingest.images.suffixes=[JPG]",
    ],
)
def test_an_impossible_value_is_refused_under_its_own_key(pair: str) -> None:
    message = fault(pair)
    assert f"  - {pair.split('=')[0]}" in message
    assert "1 fault" in message or "preprocessing" in pair


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (
            ("ingest.interactions.rating_min=5", "ingest.interactions.rating_max=1"),
            "`rating_min` must be below",
        ),
        (("ingest.interactions.liked_from=9",), "`liked_from` must lie within"),
        (("ingest.interactions.columns.event=null",), "name the column of the `event`"),
        (("ingest.users.segment=country",), "`segment` is a column of the users file"),
        (
            ("recommend.weights={cf: 0, cooccurrence: 0, visual: 0, attributes: 0, popularity: 0}",),
            "at least one weight must be above 0",
        ),
        (
            ("ingest.catalogue.columns.attributes=[colour, size, colour]",),
            "named twice",
        ),
    ],
)
def test_values_that_contradict_each_other(pairs: tuple[str, ...], words: str) -> None:
    message = fault(*pairs)
    assert words in message
    assert "Value error" not in message


def test_all_faults_are_told_at_once() -> None:
    message = fault("similar.kk=5", "als.rank=0", "tables.root=7")
    assert message.startswith("The configuration has 3 faults:\n")
    assert [line.split(":")[0] for line in message.splitlines()[1:]] == [
        "  - tables.root",
        "  - similar.kk",
        "  - als.rank",
    ]


def test_a_fault_in_one_form_of_a_value_is_told_under_its_key() -> None:
    message = fault("embed.preprocessing={mean: 1.0, scale: 0}")
    assert "embed.preprocessing.scale: " in message
    assert "AffinePreprocessing" not in message
    assert "literal" not in message


# What a configuration is


def test_frozen() -> None:
    config = Config()
    with pytest.raises(ValidationError, match="frozen"):
        config.similar.k = 5  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        config.als = Config().als  # type: ignore[misc]


def test_the_fingerprint_is_stable_and_sensitive() -> None:
    same = load_config(None, ["similar.k=50", "als.alpha=10"])
    assert same.fingerprint() == Config().fingerprint()
    assert len(same.fingerprint()) == 16
    one, other = (load_config(None, [pair]).fingerprint() for pair in ("similar.k=51", "als.alpha=10.5"))
    assert len({one, other, Config().fingerprint()}) == 3
    ordered = [
        load_config(None, [f"spark.conf={text}"]).fingerprint() for text in ("{a: x, b: y}", "{b: y, a: x}")
    ]
    assert ordered[0] == ordered[1]


def test_the_fingerprint_does_not_change_from_release_to_release_by_itself() -> None:
    # Tables carry it. If this value changes, the defaults or the canonical form have changed: say so in CHANGELOG.
    from vizrec_spark.config.models import BlendWeights

    assert BlendWeights(cf=1.0, visual=0.5, popularity=0.0).fingerprint() == "70d4fd7215f69bba"


def test_known_keys_are_all_keys() -> None:
    keys = set(known_keys())
    assert {
        "embed",
        "embed.encoder",
        "ingest.interactions.columns.user_id",
        "embed.preprocessing.mean",
    } <= keys


# The committed files


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of nested mappings; empty mappings count as values."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            result.update(flat(value, f"{prefix}{key}."))
        else:
            result[prefix + key] = value
    return result


def test_base_yml_shows_every_default(repository: Path) -> None:
    written = yaml.safe_load((repository / "conf" / "base.yml").read_text(encoding="utf-8"))
    assert flat(written) == flat(Config().model_dump(mode="json"))
    assert load_config(repository / "conf" / "base.yml") == Config()


@pytest.mark.parametrize("name", ["local.yml", "cluster.yml"])
def test_committed_overrides_are_valid_and_only_differences(repository: Path, name: str) -> None:
    file = repository / "conf" / name
    load_config(file)
    defaults = flat(Config().model_dump(mode="json"))
    same = [
        k for k, v in flat(yaml.safe_load(file.read_text(encoding="utf-8"))).items() if defaults.get(k) == v
    ]
    assert not same, "these keys repeat the default"


def test_a_file_means_the_same_with_and_without_the_defaults_beside_it(
    tmp_path: Path, repository: Path
) -> None:
    text = (
        "ingest: {interactions: {events: {click: 1, order: 5}}}\nspark: {conf: {spark.ui.enabled: 'false'}}\n"
    )
    (tmp_path / "alone").mkdir()
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "base.yml").write_text((repository / "conf" / "base.yml").read_text())
    configs = []
    for folder in ("alone", "beside"):
        (tmp_path / folder / "shop.yml").write_text(text)
        configs.append(load_config(tmp_path / folder / "shop.yml"))
    assert configs[0] == configs[1]
    assert configs[0].ingest.interactions.events == {"click": 1, "order": 5}


def test_a_log_of_ratings_needs_the_weight_of_a_rating() -> None:
    pairs = [
        "ingest.interactions.columns={event: null, rating: stars}",
        "ingest.interactions.events={click: 1}",
    ]
    with pytest.raises(ConfigError, match="every row is a `rating`: give `events` its weight"):
        load_config(None, pairs)


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    config = load_config(
        None, ["tables.root=wörk/📷", "similar.k=20", "embed.preprocessing={mean: 1.0, scale: 2.0}"]
    )
    assert load_config(save_config(config, tmp_path / "new" / "used.yml")) == config
    texts = ("08", "1e3", "1e-3", "0.5e1", "no", "null", "~", "1_0", "2024-01-01", ".5", "")
    odd = load_config(None, [setting("spark.conf", {f"spark.x.{n}": text for n, text in enumerate(texts)})])
    assert load_config(save_config(odd, tmp_path / "odd.yml")).spark.conf == odd.spark.conf


def test_settings_hold_any_text() -> None:
    for text in ("📷 'quoted' \"twice\"", "a: b # c", "\\x", "ümläut", "no", "1e3"):
        assert load_config(None, [setting("tables.root", text)]).tables.root == text


# Passwords

ADDRESS = "ftp://anna:hunter2@host/x"


def test_no_key_takes_an_address_with_a_password() -> None:
    """Some of them are written to tables as they stand, and which these are is no matter that a user should know."""
    taken = []
    for key in known_keys():
        try:
            load_config(None, [f"{key}={ADDRESS}"])
        except ConfigError:
            continue
        taken.append(key)
    assert taken == ["spark.master"]  # of section `spark` nothing is kept


@pytest.mark.parametrize(
    "pair",
    [
        "als.model_dir=s3a://AKIA12:wJal/rXU+tn@shop/models",
        f"embed.weights={ADDRESS}",
        f"embed.options={{url: '{ADDRESS}'}}",
        f"evaluate.models={{best: '{ADDRESS}'}}",
        f"evaluate.training_copies=[work/a, '{ADDRESS}']",
        "tables.root=abfss://tables:k3y@shop.dfs.core.windows.net/a",
        "ingest.images.path=https://anna:p@ss@host/pictures",
        "embed.weights=https://hunter2@host/weights.keras",
        "stream.servers=kafka://hunter2@host:9092",
        "embed.options={url: 'HTTP://hunter2@host/x'}",
    ],
)
def test_an_address_with_a_password_is_refused_with_advice_and_not_repeated(pair: str) -> None:
    told = fault(pair)
    section, _, name = pair.split("=")[0].rpartition(".")
    assert f"{section}: `{name}` has a password in an address" in told and "credential providers" in told
    assert not any(secret in told for secret in ("hunter2", "wJal", "k3y", "p@ss", "AKIA12"))


@pytest.mark.parametrize(
    "pair",
    [
        "tables.root=abfss://tables@shop.dfs.core.windows.net/a",
        "tables.root=wasbs://tables@shop.blob.core.windows.net/a",
        "embed.weights=https://host/w@2.keras?of=a@b",
        "embed.weights=ftp://anna@host/w.keras",
        "tables.root=hdfs://name-node:8020/shops/a@b",
        "tables.root=s3a://shop/vizrec",
        f"spark.conf={{spark.jars.repositories: '{ADDRESS}'}}",
        "embed.options={note: 'mail to anna@host: x'}",
    ],
)
def test_an_address_without_one_is_taken(pair: str) -> None:
    load_config(None, [pair])


@pytest.mark.parametrize("section", ["embed", "stream"])
@pytest.mark.parametrize("name", ["token", "hub_Password", "api_key", "aws.secret", "ssl.key", "x-sas"])
def test_options_that_stand_in_tables_have_no_secrets(section: str, name: str) -> None:
    """Columns `encoders.config_key` and `adapted_encoders` hold them as they are."""
    told = fault(setting(f"{section}.options", {name: "hunter2"}))
    assert f"{name} would stand in files and tables" in told and "hunter2" not in told


def test_options_of_models_are_no_secrets() -> None:
    options = {"include_top": False, "key_dim": 3, "signal": 1, "depth_multiplier": 1.5, "pooling": "avg"}
    assert load_config(None, [setting("embed.options", options)]).embed.options == options
