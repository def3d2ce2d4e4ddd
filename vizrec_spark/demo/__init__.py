"""A shop that needs nothing: generated products with pictures, and shoppers whose taste is known."""

from __future__ import annotations

from vizrec_spark.demo.catalogue import Catalogue, Product, generate_catalogue
from vizrec_spark.demo.events import Behaviour, generate_events
from vizrec_spark.demo.faults import Fault
from vizrec_spark.demo.shop import ShopSummary, write_shop
from vizrec_spark.demo.shoppers import Shopper, Shoppers, TasteMatch, generate_shoppers, taste_match
from vizrec_spark.demo.taste import Look
from vizrec_spark.demo.truth import Truth
from vizrec_spark.demo.vectors import VectorBlock, VectorSpace

__all__ = [
    "Behaviour",
    "Catalogue",
    "Fault",
    "Look",
    "Product",
    "ShopSummary",
    "Shopper",
    "Shoppers",
    "TasteMatch",
    "Truth",
    "VectorBlock",
    "VectorSpace",
    "generate_catalogue",
    "generate_events",
    "generate_shoppers",
    "taste_match",
    "write_shop",
]
