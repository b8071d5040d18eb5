"""All routes, each in its place."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpResponse
from django.urls import URLPattern, URLResolver, path

from modelpilot.api import (
    account,
    audio,
    billing,
    budgets,
    chat,
    completions,
    deployments,
    embeddings,
    envelope,
    events,
    health,
    images,
    jobs,
    metrics,
    models,
    outputs,
    quote,
    speech,
    transcriptions,
    usage,
    videos,
    voices,
    webhooks,
)
from modelpilot.api.openapi import Described
from modelpilot.api.parser import StrictParser

# Swagger's page is of ninja, and calls pass through no middleware that would write it.
EXPLORER_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


def strict(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Say what the browser may do on the explorer's page."""

    @wraps(view)
    def with_policy(*args: Any, **kwargs: Any) -> HttpResponse:
        response = view(*args, **kwargs)
        response.headers["Content-Security-Policy"] = EXPLORER_POLICY
        return response

    return with_policy


def build(title: str, namespace: str, *, docs: bool) -> Described:
    api = Described(
        title=title,
        version="1",
        description="Images, video, speech and chat by simple calls, paid per request.",
        urls_namespace=namespace,
        docs_url="/docs" if docs else None,
        openapi_url="/openapi.json" if docs else None,
        docs_decorator=strict,
        parser=StrictParser(),
    )
    envelope.install(api)
    return api


api = build("ModelPilot", "v1", docs=True)
# The OpenAI-compatible routes answer here too, for clients that end their base URL in /v1.
openai = build("ModelPilot (OpenAI-compatible)", "openai", docs=False)
original = build("ModelPilot", "original", docs=False)

for router in (
    chat.router,
    completions.router,
    embeddings.router,
    speech.router,
    transcriptions.router,
    images.openai_router,
    videos.openai_router,
    models.router,
):
    api.add_router("", router)
    openai.add_router("", router)
for router in (
    images.router,
    videos.router,
    audio.router,
    voices.router,
    jobs.router,
    events.router,
    account.router,
    usage.router,
    quote.router,
    budgets.router,
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

CALLS = ("/api/", "/v1/", "/outputs/", "/healthz", "/readyz", "/metrics")


def is_call(path: str) -> bool:
    """Whether this path is the API's: see modelpilot.asgi."""
    return path.startswith(CALLS)
