"""Looks: what a shopper likes to see, as a combination of two visible traits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vizrec_spark.demo.catalogue import Catalogue, Product
from vizrec_spark.demo.vocabulary import FAMILIES, KIND_NAMES, PATTERNS

MAX_LOOKS: Final = 3

# The three sorts of look; each numbers its looks as first trait × size of the second + second trait.
SORTS: Final = (
    ("kind", "family"),
    ("kind", "pattern"),
    ("pattern", "family"),
)
_NAMES: Final = {"kind": KIND_NAMES, "family": FAMILIES, "pattern": PATTERNS}
SORT_SIZES: Final = tuple(len(_NAMES[a]) * len(_NAMES[b]) for a, b in SORTS)
SORT_STARTS: Final = (0, SORT_SIZES[0], SORT_SIZES[0] + SORT_SIZES[1])
N_LOOKS: Final = sum(SORT_SIZES)


@dataclass(frozen=True)
class Look:
    """Two visible traits, for instance kind and colour family; the third is None, that is, of no account."""

    kind: str | None = None
    family: str | None = None
    pattern: str | None = None

    def fits(self, product: Product) -> bool:
        """Whether a product has this look."""
        return (
            self.kind in (None, product.kind)
            and self.family in (None, product.family)
            and self.pattern in (None, product.pattern)
        )

    def __str__(self) -> str:
        traits = (("kind", self.kind), ("family", self.family), ("pattern", self.pattern))
        return "+".join(f"{name}={value}" for name, value in traits if value is not None)

    @classmethod
    def parse(cls, text: str) -> Look:
        """The look that ``str`` wrote, for instance ``kind=mug+family=warm``."""
        return cls(**dict(part.split("=", 1) for part in text.split("+")))

    @classmethod
    def of_code(cls, code: int) -> Look:
        """The look with this number, 0 to ``N_LOOKS`` - 1."""
        sort = max(s for s, start in enumerate(SORT_STARTS) if start <= code)
        first, second = SORTS[sort]
        a, b = divmod(code - SORT_STARTS[sort], len(_NAMES[second]))
        return cls(**{first: _NAMES[first][a], second: _NAMES[second][b]})


def look_codes(catalogue: Catalogue) -> NDArray[np.int64]:
    """The numbers of the three looks that each product has, one of each sort; shape (n, 3)."""
    traits = {"kind": catalogue.kind, "family": catalogue.family, "pattern": catalogue.pattern}
    columns = [
        start + traits[first].astype(np.int64) * len(_NAMES[second]) + traits[second]
        for (first, second), start in zip(SORTS, SORT_STARTS, strict=True)
    ]
    return np.stack(columns, axis=1)
