"""The shapes of requests and answers, for the OpenAPI description and for what comes in."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Id = Annotated[str, Field(min_length=1, max_length=512)]


class Session(BaseModel):
    """What somebody has just looked at."""

    model_config = ConfigDict(extra="ignore")  # to name a million unknown keys would take long

    user_id: Id | None = Field(
        None, description="The user, if known; what the tables know of them counts too."
    )
    viewed: list[Id] = Field(
        max_length=50, description="Ids of the items looked at, the latest last; unknown ones are ignored."
    )


class Item(BaseModel):
    """What every answer says of an item."""

    item_id: str
    title: str = Field(description="The title, or the id where the catalogue has none.")
    price: float | None = Field(description="In the catalogue's currency.")
    categories: list[str]
    picture: str | None = Field(
        description="SHA-256 of its first picture, which /v1/picture shows; null: it has none."
    )


class ItemDetails(Item):
    """One item."""

    attributes: dict[str, str | None] = Field(description="Further columns of the catalogue.")
    people: int = Field(description="How many users like it.")


class Parts(BaseModel):
    """What each part adds to the score, weights included."""

    cf: float
    cooccurrence: float
    visual: float
    attributes: float
    popularity: float
    boost: float


class Offer(Item):
    """An item that is offered, and why."""

    rank: int = Field(description="1 for the best.")
    score: float = Field(description="The sum of the parts; comparable within a list.")
    parts: Parts
    source: Literal["als", "cooccurrence", "visual", "attributes", "popularity"] = Field(
        description="The part that speaks most for it."
    )
    because_item_id: str | None = Field(description="The item that caused it.")
    reason: str = Field(description="A sentence for the user.")


class State(BaseModel):
    """Which state of the shop an answer is about."""

    encoder_id: str | None = Field(description="The encoder behind all that is said of looks.")
    loaded_at: str = Field(description="When the service read the tables (UTC).")


class Offers(BaseModel):
    """A list for a user."""

    user_id: str | None
    known: bool = Field(description="Whether the tables have a list for the user.")
    source: Literal["live", "batch", "popular", "session"] = Field(description="What the list was made from.")
    made_at: str | None = Field(
        description="When a live list, or those of the batch run, were made (UTC); null: only now, or nothing."
    )
    model_ids: list[str] = Field(description="The ALS models behind it.")
    items: list[Offer]
    state: State


class Why(BaseModel):
    """Why an item is in a user's list."""

    user_id: str
    source: Literal["live", "batch", "popular"]
    offer: Offer
    because: Item | None = Field(description="The item that caused it, with its facts.")
    state: State


class LookAlike(Item):
    """A look-alike."""

    rank: int
    cosine: float = Field(description="-1 to 1.")
    reason: str = Field(description="A sentence for the user.")


class LookAlikes(BaseModel):
    """The look-alikes of an item, nearest first."""

    item_id: str
    items: list[LookAlike]
    state: State


class Found(BaseModel):
    """What looks like an uploaded picture, nearest first."""

    items: list[LookAlike]
    state: State


class Page(BaseModel):
    """A part of the catalogue, what most people like first."""

    total: int
    items: list[ItemDetails]
    state: State


class Users(BaseModel):
    """Some users who have a list."""

    total: int = Field(
        description="How many users have a list of the batch run, or how many are named here if those are more."
    )
    users: list[str]


class Fault(BaseModel):
    """What went wrong."""

    code: str
    message: str


class Error(BaseModel):
    """Every answer that is none."""

    error: Fault
