"""POST /embeddings: texts as vectors, in the shapes of the OpenAI SDKs."""

import base64
import struct
from typing import Annotated, Any, Literal

import orjson
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from ninja import Router
from pydantic import BeforeValidator, Field

from inference.types import Kind
from modelpilot.api import ordering, waiting
from modelpilot.api.answers import openai as answers
from modelpilot.api.auth import Key
from modelpilot.api.chat import failure, particulars
from modelpilot.api.schemas import MaxCost, ModelName, OpenAI, WebhookUrl, Whole
from modelpilot.hop import hop
from modelpilot.jobs import outcome
from modelpilot.jobs.outcome import Outcome

router = Router(tags=["OpenAI-compatible"])

# As many as OpenAI takes.
MOST_INPUTS = 2048
FLOAT_BYTES = 4


def texts(given: Any) -> Any:
    """A list of texts. OpenAI takes tokens too, but those are of its own models, and would mean
    other words here."""
    listed = given if isinstance(given, list) else [given]
    if any(isinstance(part, int | list) for part in listed):
        raise ValueError("must be text: tokens of OpenAI's models mean nothing to this one")
    return listed


class EmbeddingsBody(OpenAI):
    model: ModelName
    input: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        BeforeValidator(texts),
        Field(min_length=1, max_length=MOST_INPUTS),
    ]
    # Only as many as the model has.
    dimensions: Annotated[Whole, Field(ge=1, le=2**31 - 1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None
    webhook: WebhookUrl | None = None
    max_cost: MaxCost | None = None

    def request(self) -> dict[str, Any]:
        """As `inference.types.EmbeddingRequest` takes it."""
        return {"inputs": self.input, "dimensions": self.dimensions}


@router.post(
    "/embeddings",
    auth=Key("read", "proxy"),
    summary="Create embeddings",
    response=answers.Embeddings,
)
async def create_embeddings(request: HttpRequest, body: EmbeddingsBody) -> HttpResponseBase:
    """Turn texts into vectors whose angles tell how near they are in meaning. Each text is read
    as a whole: one that is too long is refused, not cut off."""
    placed = await ordering.place(
        request,
        route="embeddings",
        kind=Kind.EMBEDDING,
        permission="proxy",
        model=body.model,
        body=body.request(),
        watched=True,
        webhook=body.webhook,
        max_cost=body.max_cost,
    )
    await waiting.finished_or_cancelled(placed.subscription)
    job = await hop(outcome.read, placed.id)
    return embeddings(job, as_text=body.encoding_format == "base64")


def embeddings(job: Outcome, *, as_text: bool) -> HttpResponseBase:
    """OpenAI's answer, with the vectors in base64 or as numbers; ApiError for a job that did not
    succeed."""
    if not job.succeeded:
        raise failure(job)
    answer = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": vector if as_text else numbers(vector),
            }
            for index, vector in enumerate(job.result["embeddings"])
        ],
        "model": job.model,
        "usage": job.result["usage"],
        "x_modelpilot": particulars(job),
    }
    return HttpResponse(orjson.dumps(answer), content_type="application/json")


def numbers(vector: str) -> tuple[float, ...]:
    content = base64.b64decode(vector)
    return struct.unpack(f"<{len(content) // FLOAT_BYTES}f", content)
