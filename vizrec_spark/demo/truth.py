"""Says of any list of recommendations how well it meets the shoppers' known taste."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vizrec_spark.demo.catalogue import Catalogue
from vizrec_spark.demo.shoppers import Shoppers
from vizrec_spark.demo.taste import MAX_LOOKS, Look
from vizrec_spark.errors import InputError


@dataclass(frozen=True)
class Truth:
    """Taste and products as two frames; see ``Catalogue.truth_frame`` and ``Shoppers.truth_frame``."""

    items: pd.DataFrame
    shoppers: pd.DataFrame

    @classmethod
    def of(cls, catalogue: Catalogue, shoppers: Shoppers) -> Truth:
        """The truth about a generated catalogue and its shoppers."""
        return cls(catalogue.truth_frame(), shoppers.truth_frame())

    @classmethod
    def read(cls, folder: str | Path) -> Truth:
        """What ``write_shop`` left in ``folder``. Raises InputError when there is nothing."""
        files = [Path(folder) / "truth" / name for name in ("items.csv", "shoppers.csv")]
        for file in files:
            if not file.is_file():
                raise InputError(
                    f"{file} is missing: {folder} must be a folder that write_shop has finished."
                )
        items, shoppers = (pd.read_csv(file, keep_default_na=False) for file in files)
        return cls(items, shoppers)

    def match(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """``pairs`` (user_id, item_id, any more) with look (0 to 1), look_match, circle_match and is_new.

        ``look`` is the sum of the weights of the shopper's looks that the item has, ``look_match`` whether it
        has any, ``circle_match`` whether both belong to one circle. Raises InputError on an unknown id.
        """
        user = pd.Index(self.shoppers["user_id"]).get_indexer(pd.Index(pairs["user_id"]))
        item = pd.Index(self.items["item_id"]).get_indexer(pd.Index(pairs["item_id"]))
        for name, found in (("user_id", user), ("item_id", item)):
            if (found < 0).any():
                unknown = pairs[name].to_numpy()[found < 0][0]
                raise InputError(
                    f"{name} {unknown!r} is not in the generated shop: match the same shop's rows."
                )
        look = self._look_weights(user, item)
        circle = self.shoppers["circle"].to_numpy()[user] == self.items["circle"].to_numpy()[item]
        is_new = self.items["is_new"].to_numpy()[item].astype(bool)
        return pairs.assign(look=look, look_match=look > 0, circle_match=circle, is_new=is_new)

    def shares(self, pairs: pd.DataFrame) -> tuple[float, float]:
        """Shares of ``pairs`` that match the visible taste and the circle, each 0 to 1."""
        matched = self.match(pairs)
        return float(matched["look_match"].mean()), float(matched["circle_match"].mean())

    def chance(self) -> tuple[float, float]:
        """The same shares over all pairs of a shopper and an item: what blind guessing would reach."""
        n_items, n_users = len(self.items), len(self.shoppers)
        rows = [np.full(n_items, user) for user in range(min(n_users, 400))]
        user = np.concatenate(rows)
        item = np.tile(np.arange(n_items), len(rows))
        look = self._look_weights(user, item) > 0
        circles = self.shoppers["circle"].value_counts(normalize=True)
        of_items = self.items["circle"].value_counts(normalize=True)
        return float(look.mean()), float((circles * of_items.reindex(circles.index, fill_value=0)).sum())

    def _look_weights(self, user: NDArray[np.intp], item: NDArray[np.intp]) -> NDArray[np.float64]:
        total = np.zeros(len(user))
        for k in range(1, MAX_LOOKS + 1):
            names = self.shoppers[f"look_{k}"].to_numpy(dtype=object)
            codes, texts = pd.factorize(names)
            fits = np.stack([self._having(text) for text in texts])
            weight = self.shoppers[f"weight_{k}"].to_numpy(dtype=float)[user]
            total += np.where(fits[codes[user], item], weight, 0.0)
        return total

    def _having(self, look: str) -> NDArray[np.bool_]:
        """Which items have a look; none has the empty one."""
        if not look:
            return np.zeros(len(self.items), dtype=bool)
        wanted = Look.parse(look)
        fits = np.ones(len(self.items), dtype=bool)
        for trait in ("kind", "family", "pattern"):
            value = getattr(wanted, trait)
            if value is not None:
                fits &= self.items[trait].to_numpy() == value
        return fits
