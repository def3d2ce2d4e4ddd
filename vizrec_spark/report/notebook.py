"""What a notebook shows inline: look-alikes, recommendations with reasons, metrics with intervals.

Each function takes the tables (`vizrec_spark.app.runner.read_only_tables`) and the configuration, runs few small jobs,
and gives a `Shown`, which IPython draws by itself; elsewhere `html` can be written to a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

from vizrec_spark.config import Config
from vizrec_spark.errors import TableError
from vizrec_spark.report.look import look_at_item, look_at_user
from vizrec_spark.report.model import Gallery
from vizrec_spark.report.render import render_look
from vizrec_spark.report.sections.evaluations import read_quality_rows
from vizrec_spark.report.sections.quality import show_quality
from vizrec_spark.report.sections.runs import read_runs
from vizrec_spark.tables import TableStore


@dataclass(frozen=True)
class Shown:
    """A page in a cell. `html`: the whole page; `text`: what it is, for where no HTML is drawn; `height` in pixels."""

    text: str
    html: str = field(repr=False)
    height: int

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        """The page in a frame, so that its style reaches nothing else of the notebook."""
        return (
            f'<iframe title="{escape(self.text)}" srcdoc="{escape(self.html)}" width="100%" height="{self.height}" '
            'style="border:0" sandbox></iframe>'
        )


def show_neighbors(tables: TableStore, config: Config, item_id: str, k: int = 8) -> Shown:
    """The `k` look-alikes of an item. Raises: InputError for an unknown item; TableError where it has none."""
    found = look_at_item(tables, config, item_id, k)
    n = sum(len(one.look_alikes) for one in found.showcases)
    title = f"Looks like {item_id}"
    return Shown(f"{title}: {n} items", render_look(found, title), 520)


def show_recommendations(tables: TableStore, config: Config, user_id: str, k: int = 10) -> Shown:
    """What a user looked at, and the `k` first offers with reasons. Raises: InputError for an unknown user."""
    found = look_at_user(tables, config, user_id, k)
    n = sum(len(one.offers) for one in found.shoppers)
    title = f"Offered to {user_id}"
    return Shown(f"{title}: {n} items", render_look(found, title), 1000)


def plot_metrics(tables: TableStore, config: Config) -> Shown:
    """The last evaluation: models with intervals, differences, segments, and the evaluations before it.

    Raises: TableError where nothing has been measured.
    """
    quality = show_quality(read_quality_rows(tables, read_runs(tables)), config.evaluate)
    if not quality.evaluations:
        raise TableError(quality.answer.sentence)
    told = f"{quality.answer.word}: {quality.answer.sentence}"
    return Shown(told, render_look(Gallery(None), "Metrics", (quality,)), 900)
