"""What a request would cost, before it is sent."""

from typing import Annotated, Any, Protocol, Self

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from ninja import Router
from pydantic import Field, ValidationError

from billing.money import usd
from inference.types import Kind
from modelpilot.api.answers.account import Quote
from modelpilot.api.auth import PERMISSIONS, Key, principal_of
from modelpilot.api.embeddings import EmbeddingsBody
from modelpilot.api.findings import invalid
from modelpilot.api.images import EditsBody, GenerationsBody, ImageBody
from modelpilot.api.ordering import deployed, find_card, most
from modelpilot.api.schemas import AudioBody, Native, SpeechBody, spelled
from modelpilot.api.text import ChatBody, CompletionBody
from modelpilot.api.transcriptions import TranscriptionsBody
from modelpilot.api.videos import VideoBody, VideosBody
from modelpilot.errors import ApiError
from modelpilot.fleet.catalog import price_of
from modelpilot.hop import hop

router = Router(tags=["Account"])


class PaidBody(Protocol):
    """The body of a paid route: `request` is what its price is made of."""

    model: str

    @classmethod
    def model_validate(cls, obj: Any) -> Self: ...

    def request(self) -> dict[str, Any]: ...


# Every paid route, with its body and the kind of model that it takes.
ROUTES: dict[str, tuple[type[PaidBody], Kind]] = {
    "chat/completions": (ChatBody, Kind.TEXT),
    "completions": (CompletionBody, Kind.TEXT),
    "embeddings": (EmbeddingsBody, Kind.EMBEDDING),
    "audio/speech": (SpeechBody, Kind.AUDIO),
    "audio/transcriptions": (TranscriptionsBody, Kind.TRANSCRIPTION),
    "generate/audio": (AudioBody, Kind.AUDIO),
    "generate/image": (ImageBody, Kind.IMAGE),
    "images/generations": (GenerationsBody, Kind.IMAGE),
    "images/edits": (EditsBody, Kind.IMAGE),
    "generate/video": (VideoBody, Kind.VIDEO),
    "videos": (VideosBody, Kind.VIDEO),
}


class QuoteBody(Native):
    # As in the address; the part before it is fine, too.
    route: Annotated[str, Field(min_length=1, max_length=60), spelled(enum=[*ROUTES])]
    body: dict[str, Any]


@router.post(
    "/quote",
    auth=Key(*PERMISSIONS, any_of=True, polling=True),
    summary="Quote a price",
    response=Quote,
)
async def quote(request: HttpRequest, body: QuoteBody) -> HttpResponseBase:
    """The most that `body` would cost, in USD, if it were sent to `route` now. What the route
    itself would refuse is refused here too, but for lack of money."""
    route = body.route.strip("/").removeprefix("api/").removeprefix("v1/")
    if route not in ROUTES:
        raise ApiError(
            422, "invalid_value", f"'route' must be one of: {', '.join(ROUTES)}.", param="route"
        )
    schema, kind = ROUTES[route]
    try:
        asked = schema.model_validate(body.body)
    except ValidationError as error:
        # Where ninja would have found it, had it been sent to the route inside of `body`.
        raise invalid(
            [
                {**found, "loc": ("body", "quote", "body", *found["loc"])}
                for found in error.errors()
            ],
            {"body": body.body},
        ) from error
    card, serving = await hop(
        lambda: deployed(find_card(principal_of(request), asked.model, kind), asked.model, kind)
    )
    max_cost = usd(most(price_of(card, serving.price), card, asked.request()))
    return JsonResponse({"model": card.id, "max_cost": max_cost, "currency": "USD"})
