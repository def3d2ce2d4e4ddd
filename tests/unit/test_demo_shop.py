"""The files of a generated shop: what they hold, what is wrong with them, and when they are written anew."""

from __future__ import annotations

import filecmp
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from vizrec_spark.demo import ShopSummary, Truth, generate_catalogue, shop, write_shop
from vizrec_spark.errors import ImageRefused, InputError
from vizrec_spark.imaging import inspect_image

SMALL = {"n_items": 80, "n_users": 40, "n_events": 900, "image_size": 48, "seed": 5}


def make(folder: Path, **changes: object) -> ShopSummary:
    return write_shop(folder, **{**SMALL, "workers": 1, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> ShopSummary:
    return make(tmp_path_factory.mktemp("broken") / "shop")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> ShopSummary:
    return make(tmp_path_factory.mktemp("sound") / "shop", broken=False)


def text(summary: ShopSummary, name: str) -> pd.DataFrame:
    return pd.read_csv(Path(summary.folder) / name, dtype=str, keep_default_na=False)


def test_a_sound_shop_is_complete(sound: ShopSummary) -> None:
    items, users, events = (text(sound, name) for name in ("items.csv", "users.csv", "events.csv"))
    assert items.columns.tolist() == [
        "item_id",
        "title",
        "kind",
        "colour",
        "pattern",
        "price",
        "added_at",
        "image",
    ]
    assert events.columns.tolist() == ["user_id", "item_id", "event", "timestamp"]
    assert (len(items), len(users), len(events)) == (80, 40, 900)
    pictures = {f"images/{file.name}" for file in (Path(sound.folder) / "images").iterdir()}
    assert pictures == set(items["image"]) - {""}
    assert sound.n_pictures == len(pictures) == 78
    for name in pictures:
        info = inspect_image((Path(sound.folder) / name).read_bytes())
        assert (info.width, info.height, info.format) == (48, 48, "JPEG")
    assert sound.faults == ()
    assert sound.n_idle == 40 - events["user_id"].nunique()
    assert sound.n_new == int(generate_catalogue(80, seed=5).is_new.sum()) > 0


def test_the_planted_faults_are_in_the_files(broken: ShopSummary) -> None:
    """Every fault is found again by looking at the files alone."""
    folder = Path(broken.folder)
    items, users, events = (text(broken, name) for name in ("items.csv", "users.csv", "events.csv"))
    found: Counter[tuple[str, str]] = Counter()
    named = set(items["image"]) - {""}
    on_disk = {f"images/{file.name}" for file in (folder / "images").iterdir()}
    found["images", "missing_file"] = len(named - on_disk)
    found["images", "unknown_item"] = len(on_disk - named)
    readable = 0
    for name in named & on_disk:
        try:
            inspect_image((folder / name).read_bytes())
            readable += 1
        except ImageRefused as refused:
            found["images", refused.reason] += 1
    assert readable == broken.n_pictures
    found["catalogue", "missing_key"] = int((items["item_id"] == "").sum())
    found["catalogue", "duplicate_key"] = int(items["item_id"].duplicated().sum())
    found["catalogue", "bad_price"] = int((items["price"].astype(float) < 0).sum())
    found["users", "duplicate_key"] = int(users["user_id"].duplicated().sum())
    found["interactions", "missing_key"] = int((events["user_id"] == "").sum())
    found["interactions", "duplicate_key"] = int(events.duplicated().sum())
    found["interactions", "unknown_item"] = int((~events["item_id"].isin(items["item_id"])).sum())
    found["interactions", "unknown_event"] = int((~events["event"].isin(["view", "cart", "buy"])).sum())
    late = pd.to_numeric(events["timestamp"], errors="coerce").between(1_000_000_000, 2_000_000_000)
    found["interactions", "bad_timestamp"] = int((~late).sum())
    assert dict(found) == broken.fault_counts()
    assert all(fault.count > 0 for fault in broken.faults)
    planted = Counter(f.source for f in broken.faults for _ in range(f.count))
    assert len(items) == 80 + planted["catalogue"]
    assert len(users) == 40 + planted["users"]
    assert len(events) == 900 + planted["interactions"]


def test_faults_leave_everything_else_alone(broken: ShopSummary, sound: ShopSummary) -> None:
    hurt = {key for fault in broken.faults if fault.source == "images" for key in fault.keys}
    for file in (Path(sound.folder) / "images").iterdir():
        if f"images/{file.name}" not in hurt:
            assert filecmp.cmp(file, Path(broken.folder) / "images" / file.name, shallow=False)
    assert set(text(sound, "events.csv").itertuples(index=False, name=None)) <= set(
        text(broken, "events.csv").itertuples(index=False, name=None)
    )


def test_truth_is_kept_apart(broken: ShopSummary) -> None:
    assert "circle" not in text(broken, "items.csv").columns
    truth = Truth.read(broken.folder)
    events = text(broken, "events.csv")
    known = events[events["item_id"].isin(truth.items["item_id"]) & (events["user_id"] != "")]
    look, circle = truth.shares(known)
    chance_look, chance_circle = truth.chance()
    assert look > 2 * chance_look
    assert circle > 1.5 * chance_circle


def test_the_number_of_workers_does_not_show(tmp_path: Path, sound: ShopSummary) -> None:
    several = make(tmp_path / "shop", broken=False, workers=2)
    files = sorted(file.name for file in (Path(sound.folder) / "images").iterdir())
    same, different, missing = filecmp.cmpfiles(
        Path(sound.folder) / "images", Path(several.folder) / "images", files, shallow=False
    )
    assert (len(same), different, missing) == (78, [], [])


def test_a_finished_shop_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(tmp_path / "shop")

    def never(*_: object, **__: object) -> int:
        raise AssertionError("it drew again")

    monkeypatch.setattr(shop, "draw_pictures", never)
    assert make(tmp_path / "shop") == first
    with pytest.raises(AssertionError, match="drew again"):
        make(tmp_path / "shop", seed=6)


def test_other_parameters_replace_everything(tmp_path: Path) -> None:
    make(tmp_path / "shop")
    small = make(tmp_path / "shop", n_items=20, broken=False)
    assert len(list((tmp_path / "shop" / "images").iterdir())) == small.n_pictures == 20
    assert len(text(small, "items.csv")) == 20


def test_an_interrupted_shop_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make(tmp_path / "whole")
    folder = tmp_path / "shop"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shop, "_write_truth", killed)
        with pytest.raises(KeyboardInterrupt):
            make(folder)
    assert not (folder / shop.STAMP).exists()
    (folder / "images" / "left_over.jpg").write_bytes(b"half a picture")
    make(folder)
    comparison = filecmp.dircmp(tmp_path / "whole", folder, ignore=[shop.STAMP])
    assert (comparison.left_only, comparison.right_only, comparison.diff_files) == ([], [], [])
    pictures = filecmp.dircmp(tmp_path / "whole" / "images", folder / "images")
    assert (pictures.left_only, pictures.right_only) == ([], [])
    assert whole.n_pictures == make(folder).n_pictures


@pytest.mark.parametrize("lost", ["items.csv", "events.csv", "shop.json"])
def test_a_shop_that_lost_a_file_is_made_anew(tmp_path: Path, lost: str) -> None:
    folder = tmp_path / "shop"
    make(folder, n_items=12)
    if lost == "shop.json":
        (folder / lost).write_text("{", encoding="utf-8")
    else:
        (folder / lost).unlink()
    make(folder, n_items=12)
    assert (folder / lost).stat().st_size > 2


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(InputError, match="not a generated shop"):
        make(tmp_path)
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "years of work"


def test_the_smallest_shop_works(tmp_path: Path) -> None:
    tiny = make(tmp_path / "shop", n_items=1, n_users=1, n_events=3)
    assert (tiny.n_items, tiny.n_users, tiny.n_events) == (1, 1, 3)
    assert tiny.folder in str(tiny)
