"""Everything that an answer may need, made from one set of table versions, and never changed after that."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.config import Config
from vizrec_spark.config.encoders import encoder_key
from vizrec_spark.errors import EncoderError, TableError, VizrecError
from vizrec_spark.serve import columns as c
from vizrec_spark.serve.catalogue import Catalogue, read_catalogue, read_people
from vizrec_spark.serve.delta import Opened, TableFolder
from vizrec_spark.serve.lists import Live, Neighbors, Offers, read_live, read_neighbors, read_offers
from vizrec_spark.serve.looks import Encoder, EncoderLoader, PictureSearch, Vectors, read_vectors
from vizrec_spark.serve.pictures import PictureIndex, PictureRows, index_pictures, read_picture_rows

log = logging.getLogger("vizrec")


class NotWhole(VizrecError):
    """The tables stand between two stages: to serve them would take away what is served now."""


class Search(NamedTuple):
    """Search by picture: both parts, or `why` there is none."""

    finder: PictureSearch | None
    vectors: Vectors | None
    why: str | None


@dataclass(frozen=True)
class Snapshot:
    """One state of the shop. `people` (n,): how many users like each item; `by_popularity` (n,): positions, most first.

    `versions` names the version of each table that was read, but for the live lists, which alone are replaced between
    two snapshots (`Loader.live`); `batch_at` when `offers` were written, in seconds since 1970; `notes` what it lacks,
    for people.
    """

    versions: Mapping[str, int]
    loaded_at: datetime
    encoder_id: str | None
    catalogue: Catalogue
    people: NDArray[np.int32]
    by_popularity: NDArray[np.int64]
    pictures: PictureIndex
    neighbors: Neighbors | None
    offers: Offers | None
    batch_at: float
    live: Live | None
    search: Search
    notes: tuple[str, ...]

    @property
    def nbytes(self) -> dict[str, int]:
        """Bytes in memory by part."""
        parts: dict[str, Any] = {
            "catalogue": self.catalogue,
            "pictures": self.pictures,
            "neighbors": self.neighbors,
            "offers": self.offers,
            "live": self.live,
            "vectors": self.search.vectors,
        }
        return {name: part.nbytes for name, part in parts.items() if part is not None}


class Loader:
    """Makes snapshots; a part whose tables have not changed is taken from the one before."""

    def __init__(self, config: Config, load_encoder: EncoderLoader) -> None:
        """Raises: ConfigError for tables that cannot be read without Spark."""
        self._config, self._load_encoder = config, load_encoder
        self._folder = TableFolder(config.tables)
        self._sources = tuple(s for s in c.SOURCES if config.serve.search or s is not c.EMBEDDINGS)
        self._parts: dict[str, tuple[Hashable, Any]] = {}

    def versions(self) -> dict[str, int]:
        """The latest version of each table that is there. Raises: TableError."""
        return self._folder.versions(self._sources)

    def load(self, before: Snapshot | None = None) -> Snapshot:
        """The tables as they are now; of the live lists what can be had, for a fault of theirs holds up nothing else.

        Raises: TableError; NotWhole where `before` has look-alikes or lists that the tables, now, lack: the encoder has
        changed, and stage `similar` or `recommend` has not followed yet.
        """
        opened = self._folder.open_all(self._sources)
        items = opened.get(c.ITEMS.name)
        if items is None:
            raise TableError(
                f"Table items does not exist at {self._folder.location(c.ITEMS)}: run stage `ingest` first."
            )
        encoder = self._encoder(opened)
        encoder_id = None if encoder is None else encoder[0]
        parts: dict[str, tuple[Hashable, Any]] = {}

        def part(name: str, key: Hashable, make: Callable[[], Any]) -> Any:
            known = self._parts.get(name)
            parts[name] = known if known is not None and known[0] == key else (key, make())
            return parts[name][1]

        def version(*sources: c.Source) -> tuple[int | None, ...]:
            return tuple(opened[s.name].version if s.name in opened else None for s in (c.ITEMS, *sources))

        shop: Catalogue = part("catalogue", version(), lambda: read_catalogue(items))
        people = part(
            "people",
            version(c.INTERACTIONS),
            lambda: read_people(opened.get(c.INTERACTIONS.name), shop),
        )
        rows, pictures = part("pictures", version(c.IMAGES), lambda: _pictures(opened, shop))
        neighbors = part(
            "neighbors",
            (encoder_id, version(c.ITEM_NEIGHBORS, c.SIMILARITY_QUALITY)),
            lambda: _neighbors(opened, encoder_id, shop),
        )
        offers = part("offers", version(c.RECOMMENDATIONS), lambda: _offers(opened, shop))
        _refuse_half(before, encoder_id, neighbors, offers)
        finder, why = part("encoder", encoder, lambda: self._finder(encoder))
        if finder is None:  # asked for again with the next version
            del parts["encoder"]
        search = part(
            "search",
            (encoder, finder is None, version(c.IMAGES, c.EMBEDDINGS)),
            lambda: _search(opened, encoder, finder, why, rows),
        )
        self._parts = parts
        batch_at = opened[c.RECOMMENDATIONS.name].written_at if offers is not None else 0.0
        return Snapshot(
            {name: table.version for name, table in sorted(opened.items())},
            datetime.now(UTC),
            encoder_id,
            shop,
            people,
            np.argsort(-people, kind="stable"),
            pictures,
            neighbors,
            offers,
            batch_at,
            self._live_or_before(shop, batch_at, before),
            search,
            tuple(_notes(encoder_id, neighbors, offers)),
        )

    def live(self, now: Snapshot) -> Live | None:
        """The live lists as they are; that of `now` where the table has not changed. Raises: TableError."""
        found = self._folder.versions((c.LIVE_RECOMMENDATIONS,)).get(c.LIVE_RECOMMENDATIONS.name)
        if found == (None if now.live is None else now.live.version):
            return now.live
        return self._live(now.catalogue, now.batch_at)

    def _live_or_before(self, shop: Catalogue, batch_at: float, before: Snapshot | None) -> Live | None:
        """The live lists as they are. Where they cannot be read, those of `before`, if they are about the same
        catalogue: `live` is asked for them again in a moment and says why."""
        try:
            return self._live(shop, batch_at)
        except Exception as error:  # whatever it is, all other tables can be read
            log.debug("the live lists are left as they were", exc_info=error)
            return before.live if before is not None and before.catalogue is shop else None

    def _live(self, shop: Catalogue, batch_at: float) -> Live | None:
        table = self._folder.open(c.LIVE_RECOMMENDATIONS)
        seconds = 60.0 * self._config.serve.live_minutes
        return None if table is None else read_live(table, shop, seconds, batch_at)

    def _encoder(self, opened: Mapping[str, Opened]) -> tuple[str, int] | None:
        """Id and dimension of the configured encoder, as stage `embed` has written them down."""
        table = opened.get(c.ENCODERS.name)
        known = None if table is None else table.table(c.ENCODERS.columns)
        wanted = encoder_key(self._config.embed)
        for row in [] if known is None else known.to_pylist():
            if row["config_key"] == wanted:
                return row["encoder_id"], row["dimension"]
        return None

    def _finder(self, encoder: tuple[str, int] | None) -> tuple[PictureSearch | None, str | None]:
        """The encoder ready to search with, or why there is none."""
        if not self._config.serve.search:
            return None, "serve.search is false"
        if encoder is None:
            return None, "there are no vectors of the configured encoder: run stage `embed`"
        try:
            ready: Encoder = self._load_encoder(encoder[0])
        except (EncoderError, TableError) as error:
            return None, str(error)
        if ready.dimension != encoder[1]:
            return None, f"the encoder gives {ready.dimension} numbers, its vectors have {encoder[1]}"
        return PictureSearch(ready, self._config.serve.max_pixels), None


def _search(
    opened: Mapping[str, Opened],
    encoder: tuple[str, int] | None,
    finder: PictureSearch | None,
    why: str | None,
    rows: PictureRows,
) -> Search:
    if finder is None or encoder is None:
        return Search(None, None, why)
    if c.EMBEDDINGS.name not in opened:
        return Search(None, None, "there is no table embeddings: run stage `embed`")
    return Search(finder, read_vectors(opened[c.EMBEDDINGS.name], *encoder, rows), None)


def _pictures(opened: Mapping[str, Opened], shop: Catalogue) -> tuple[PictureRows, PictureIndex]:
    images = opened.get(c.IMAGES.name)
    rows = read_picture_rows(images, shop)
    return rows, index_pictures(images, rows, len(shop))


def _neighbors(opened: Mapping[str, Opened], encoder_id: str | None, shop: Catalogue) -> Neighbors | None:
    table = opened.get(c.ITEM_NEIGHBORS.name)
    if table is None or encoder_id is None:
        return None
    return read_neighbors(table, opened.get(c.SIMILARITY_QUALITY.name), encoder_id, shop)


def _offers(opened: Mapping[str, Opened], shop: Catalogue) -> Offers | None:
    table = opened.get(c.RECOMMENDATIONS.name)
    return None if table is None else read_offers(table, shop)


def _refuse_half(
    before: Snapshot | None, encoder_id: str | None, neighbors: Neighbors | None, offers: Offers | None
) -> None:
    if before is None:
        return
    if before.neighbors is not None and neighbors is None:
        raise NotWhole(
            f"Table item_neighbors has nothing of encoder {encoder_id} yet: run stage `similar`. Until then the state "
            "of before is served."
        )
    if before.offers is not None and offers is None:
        raise NotWhole(
            "Table recommendations is gone: run stage `recommend`. Until then the state of before is served."
        )
    mixed = _mixed(encoder_id, offers)
    if mixed is not None and _mixed(before.encoder_id, before.offers) is None:
        raise NotWhole(f"{mixed} Until then the state of before is served.")


def _mixed(encoder_id: str | None, offers: Offers | None) -> str | None:
    """What to say where the lists were made with another encoder than the look-alikes."""
    others = [] if offers is None else sorted(set(offers.encoder_ids) - {encoder_id})
    if not others:
        return None
    return (
        f"Table recommendations was made with encoder {', '.join(others)}, the look-alikes with {encoder_id}: run "
        "stage `recommend`."
    )


def _notes(encoder_id: str | None, neighbors: Neighbors | None, offers: Offers | None) -> list[str]:
    notes = []
    if neighbors is None:
        notes.append("There are no look-alikes of the configured encoder: run stages `embed` and `similar`.")
    if offers is None:
        notes.append(
            "There is no table recommendations: run stage `recommend`. Everybody gets what is popular."
        )
    mixed = _mixed(encoder_id, offers)
    return [*notes, mixed] if mixed is not None else notes
