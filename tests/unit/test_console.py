"""The console command where no Spark is needed: refusals, exit codes, and text that looks like markup."""

from __future__ import annotations

import argparse
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from vizrec_spark.app.cli import main
from vizrec_spark.app.lookup import result_table
from vizrec_spark.app.runner import OS_ERROR, guarded
from vizrec_spark.errors import EncoderError, InputError


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
    assert guarded(lambda _: (blocked / "below").mkdir(parents=True), args) == OS_ERROR
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
