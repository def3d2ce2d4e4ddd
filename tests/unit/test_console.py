"""The console command where no Spark is needed: refusals, exit codes, and text that looks like markup."""

from __future__ import annotations

import argparse
import json
from datetime import datetime
from io import StringIO
from pathlib import Path
from threading import Thread

import pytest
from rich.console import Console

from vizrec_spark.app.cli import main
from vizrec_spark.app.logs import about, redacted
from vizrec_spark.app.lookup import result_table
from vizrec_spark.app.runner import Finished, guarded, print_summary
from vizrec_spark.errors import EncoderError, InputError, SessionError, StorageError
from vizrec_spark.stage import Stage, StageResult, log
from vizrec_spark.tables import Written


def test_stages_in_the_wrong_order_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pipeline", "--from", "als", "--to", "ingest"]) == 2
    assert "stage ingest comes before als" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["neighbors", "x", "--k"], ["recommendations", "x", "--k"], ["demo", "--items"]]
)
@pytest.mark.parametrize("value", ["0", "-3", "many"])
def test_sizes_are_at_least_one(command: list[str], value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command, value])
    assert stop.value.code == 2
    assert f"expected a whole number of at least 1, got '{value}'" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    args = argparse.Namespace(quiet=True)
    assert guarded(lambda _: (blocked / "below").mkdir(parents=True), args) == StorageError.exit_code
    told = capsys.readouterr().err
    assert str(blocked) in told and "Check that the path is right" in told and "Traceback" not in told


@pytest.mark.parametrize(
    ("pair", "advice"),
    [
        ("embed.encoder=keras.applications:ResNet5O", "Did you mean ResNet50?"),
        ("embed.encoder=resnet50", "is none of keras.applications:<Name>"),
        ("embed.encoder=there/is/none.keras", "there/is/none.keras"),
        ("embed.weights=none.h5", "embed.weights names the file none.h5"),
        ("embed.layer=avg_pool", "embed.layer = 'avg_pool' has no use"),
        ("embed.options={pooling: max}", "embed.options may not set pooling"),
    ],
)
def test_an_encoder_that_cannot_be_is_refused_before_the_first_stage(
    pair: str, advice: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_session(*_: object, **__: object) -> None:
        raise AssertionError("a session was asked for")

    monkeypatch.setattr("vizrec_spark.app.runner.build_session", no_session)
    assert main(["pipeline", "--set", pair]) == EncoderError.exit_code
    assert advice in capsys.readouterr().err


def test_a_stage_that_runs_alone_has_settings_of_its_own_under_those_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[dict[str, str]] = []

    def session(_: str, conf: dict[str, str], *, brief: bool = False) -> None:
        asked.append(conf)
        raise SessionError("no Spark here")

    monkeypatch.setattr("vizrec_spark.app.runner.build_session", session)
    keys = ("spark.ui.retainedJobs", "spark.ui.retainedStages")
    given = ["--quiet", "--set", 'spark.conf={"spark.ui.retainedJobs": "7"}']
    for command in ("stream", "pipeline"):
        assert main([command, *given]) == SessionError.exit_code
    assert [[conf.get(key) for key in keys] for conf in asked] == [["7", "50"], ["7", None]]


def test_a_demo_with_a_wrong_key_draws_nothing(tmp_path: Path) -> None:
    assert main(["demo", "--folder", str(tmp_path / "demo"), "--set", "similar.kk=1"]) == 2
    assert not (tmp_path / "demo").exists()


def test_square_brackets_in_a_message_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: Console) -> None:
        raise InputError("item [/50%] of [xl]")

    assert guarded(fail, argparse.Namespace(quiet=True)) == InputError.exit_code
    assert "item [/50%] of [xl]" in capsys.readouterr().err


def test_titles_are_no_markup() -> None:
    table = result_table("Sale [/50%]", ("item", "title"), [("8", "A mug of the kind [xl] [/]")])
    stream = StringIO()
    Console(file=stream, width=100).print(table)
    assert "Sale [/50%]" in stream.getvalue() and "kind [xl] [/]" in stream.getvalue()


def test_json_lines_say_run_and_stage_from_any_thread_and_hold_no_secret(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def body(_: Console) -> None:
        with about(run_id="day-1"), about(stage="embed"):
            watcher = Thread(target=log.info, args=("%s of 3 tasks", 2))
            watcher.start()
            watcher.join()
            log.warning(
                "s3a://anna:pa55@host/x with fs.s3a.secret.key=hunter2, 'password': 'a b' and ?sig=Zm9v&x=1"
            )
        raise InputError("two\nlines")

    assert guarded(body, argparse.Namespace(log_format="json")) == InputError.exit_code
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(t["level"], t.get("run_id"), t.get("stage")) for t in told] == [
        ("info", "day-1", "embed"),
        ("warning", "day-1", "embed"),
        ("error", None, None),
    ]
    assert told[0]["message"] == "2 of 3 tasks" and datetime.fromisoformat(told[0]["at"]).tzinfo is not None
    hidden = "s3a://*****@host/x with fs.s3a.secret.key=*****, 'password': ***** and ?sig=*****&x=1"
    assert told[1]["message"] == hidden
    assert (told[2]["message"], told[2]["exit_code"]) == ("two\nlines", 3)


def test_the_line_of_an_error_says_in_which_run_and_stage_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    def body(_: Console) -> None:
        with about(run_id="day-1"), about(stage="embed"):
            raise InputError("no such file")

    def after(_: Console) -> None:
        log.info("about nothing")

    for each in (body, after):
        guarded(each, argparse.Namespace(log_format="json"))
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(t["level"], t.get("run_id"), t.get("stage")) for t in told] == [
        ("error", "day-1", "embed"),
        ("info", None, None),
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("get https://ghp_16C7e42F@git.example.com/x now", "get https://*****@git.example.com/x now"),
        ("s3a://AKIA12:wJal/rXU+tn@bucket/key", "s3a://*****@bucket/key"),
        ("https://anna:p@ss@host/items", "https://*****@host/items"),
        ("abfss://tables@shop.dfs.core.windows.net/a", "abfss://tables@shop.dfs.core.windows.net/a"),
        ("abfss://tables:k3y@shop.dfs.core.windows.net/a", "abfss://*****@shop.dfs.core.windows.net/a"),
        ("GET /x?X-Amz-Signature=ab12&X-Amz-Date=1", "GET /x?X-Amz-Signature=*****&X-Amz-Date=1"),
        ("SharedAccessSignature=sv1;Endpoint=a", "SharedAccessSignature=*****;Endpoint=a"),
        ("{'Authorization': 'Bearer abc.def'}", "{'Authorization': 'Bearer *****'}"),
        ("Authorization: Basic YW5uYTpw", "Authorization: Basic *****"),
        ("jdbc:db2://host;user=anna;pwd=pa55;ssl=true", "jdbc:db2://host;user=anna;pwd=*****;ssl=true"),
        ("key.passphrase: 'a long one', fast", "key.passphrase: *****, fast"),
        ("fs.s3a.encryption.key=Zm9v, fs.s3a.path=1", "fs.s3a.encryption.key=*****, fs.s3a.path=1"),
        ("parquet.encryption.footer.key=k1", "parquet.encryption.footer.key=*****"),
        ("server-side-encryption-key=Zm9v", "server-side-encryption-key=*****"),
        ("encryption: none, monkey: 3, keys: 4", "encryption: none, monkey: 3, keys: 4"),
        ("sent bearer eyJhbGciOi.J9-_x==", "sent bearer *****"),
        ("s3a://shop/vizrec/tables, mail anna@host", "s3a://shop/vizrec/tables, mail anna@host"),
    ],
)
def test_each_form_of_a_secret_is_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.timeout(20)
@pytest.mark.parametrize("word", ["x", "token", "a-", "s3a://a", "x."])
def test_a_long_word_is_no_matter_of_minutes(word: str) -> None:
    text = word * (40_000 // len(word))
    assert redacted(f"{text} password=hunter2") == f"{text} password=*****"


def test_a_traceback_for_people_holds_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: Console) -> None:
        raise RuntimeError("cannot read https://anna:pa55@host/items.csv")

    assert guarded(fail, argparse.Namespace()) == 1
    told = capsys.readouterr().err
    assert "Traceback" in told and "https://*****@host" in told and "pa55" not in told


def test_a_summary_holds_no_secret() -> None:
    written = Written("items", "s3a://AKIA:s3/cret@shop/items", 1, 2, 2)
    stream = StringIO()
    done = Finished(Stage("ingest", "", lambda _: StageResult()), StageResult([written]), 1.0)
    print_summary([done], "day-1", Console(file=stream, width=160))
    assert "s3a://*****@shop/items" in stream.getvalue()


def test_an_unexpected_error_is_one_json_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda _: 1 / 0, argparse.Namespace(log_format="json")) == 1
    [told] = map(json.loads, capsys.readouterr().err.splitlines())
    assert told["level"] == "critical" and "ZeroDivisionError" in told["traceback"]


def test_messages_for_people_hold_no_secret_either(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: Console) -> None:
        log.info("disaster: none; API_KEY=abc")
        raise InputError("cannot read https://anna:pa55@host/items.csv")

    assert guarded(fail, argparse.Namespace()) == InputError.exit_code
    told = capsys.readouterr().err
    assert "disaster: none; API_KEY=*****" in told and "https://*****@host/items.csv" in told
