"""All routes, each in its place."""

from typing import Any

import orjson
from django.http import HttpRequest
from django.urls import URLPattern, URLResolver, path
from ninja import NinjaAPI
from ninja.parser import Parser

from modelpilot.api import (
    account,
    audio,
    billing,
    chat,
    deployments,
    envelope,
    events,
    health,
    jobs,
    metrics,
    models,
    outputs,
    speech,
    voices,
    webhooks,
)
from modelpilot.errors import ApiError


class StrictParser(Parser):
    """JSON without NUL in its strings, which PostgreSQL can't store."""

    def parse_body(self, request: HttpRequest) -> Any:
        body = orjson.loads(request.body)
        if b"\\u0000" in request.body and has_nul(body):
            raise ApiError(400, "invalid_json", "The body has a NUL character. Leave it out.")
        return body


def has_nul(value: Any) -> bool:
    """Whether a string of a JSON value holds a NUL; the parser bounds how deep it goes."""
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(has_nul(key) or has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(map(has_nul, value))


def build(title: str, namespace: str, *, docs: bool) -> NinjaAPI:
    api = NinjaAPI(
        title=title,
        version="1",
        description="Images, video, speech and chat by simple calls, paid per request.",
        urls_namespace=namespace,
        docs_url="/docs" if docs else None,
        openapi_url="/openapi.json" if docs else None,
        parser=StrictParser(),
    )
    envelope.install(api)
    return api


api = build("ModelPilot", "v1", docs=True)
# The OpenAI-compatible routes answer here too, for clients that end their base URL in /v1.
openai = build("ModelPilot (OpenAI-compatible)", "openai", docs=False)
original = build("ModelPilot", "original", docs=False)

for router in (chat.router, speech.router, models.router):
    api.add_router("", router)
    openai.add_router("", router)
for router in (
    audio.router,
    voices.router,
    jobs.router,
    events.router,
    account.router,
    billing.router,
    deployments.router,
    webhooks.router,
):
    api.add_router("", router)
original.add_router("", deployments.health_router)

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/billing/stripe/webhook", billing.stripe_webhook),
    path("api/v1/", api.urls),
    path("v1/", openai.urls),
    path("api/", original.urls),
    path("outputs/<uuid:output_id>", outputs.show_output),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics.metrics),
]
