"""Deployments: what is served, for accounts that may deploy; and their health, for all."""

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from ninja import Query, Router

from inference.picking import Choice
from modelpilot.api.answers import deployments as answers
from modelpilot.api.answers.shapes import ListOf
from modelpilot.api.auth import Key
from modelpilot.api.health import valkey_answers
from modelpilot.api.schemas import DeployBody, DeploymentChange
from modelpilot.errors import ApiError
from modelpilot.fleet import deployments, overview
from modelpilot.fleet.catalog import cards
from modelpilot.fleet.deployments import Serving
from modelpilot.fleet.models import Deployment
from modelpilot.fleet.overview import DeploymentView
from modelpilot.hop import hop
from modelpilot.jobs.models import Job

router = Router(tags=["Deployments"])
DEPLOYER = Key("read", deploys=True)
# At /api, the one path of the original that is not under /api/v1.
health_router = Router(tags=["Deployments"])


@router.get(
    "/deployments", auth=DEPLOYER, summary="List deployments", response=ListOf[answers.Deployment]
)
async def list_deployments(request: HttpRequest) -> HttpResponseBase:
    """What is deployed: its pods, its queue, what was measured, and how long a job takes now."""
    found = await hop(overview.all_deployments)
    return JsonResponse({"object": "list", "data": [deployment_body(each) for each in found]})


@router.get("/devices", auth=DEPLOYER, summary="List devices", response=ListOf[answers.Device])
async def list_devices(request: HttpRequest) -> HttpResponseBase:
    """The CPUs and GPUs of all machines: memory in MB, and the pods that sit there."""
    found = await hop(overview.all_devices)
    data = [{"object": "device", **asdict(each)} for each in found]
    return JsonResponse({"object": "list", "data": data})


@router.get(
    "/deployments/{deployment_id}",
    auth=DEPLOYER,
    summary="Get a deployment",
    response=answers.Deployment,
)
async def get_deployment(request: HttpRequest, deployment_id: str) -> HttpResponseBase:
    """One deployment, as the list has it."""
    return JsonResponse(await hop(lambda: body_of(find(deployment_id))))


@router.patch(
    "/deployments/{deployment_id}",
    auth=DEPLOYER,
    summary="Change a deployment",
    response=answers.Deployment,
)
async def change_deployment(
    request: HttpRequest, deployment_id: str, body: DeploymentChange
) -> HttpResponseBase:
    """Pin it (one pod stays loaded), set its most pods, its idle time, its engine or the number of
    its devices (null: the default); these two are of the pods that start from now on."""

    def change() -> dict[str, Any]:
        return body_of(
            deployments.change(find(deployment_id), **body.model_dump(exclude_unset=True))
        )

    return JsonResponse(await hop(change))


@router.post(
    "/deployments", auth=DEPLOYER, summary="Deploy a model", response={201: answers.Deployment}
)
async def create_deployment(request: HttpRequest, body: DeployBody) -> HttpResponseBase:
    """Serve a model of the catalog; its first pod starts with its first job."""
    card = cards().find(body.model)
    if card is None:
        raise ApiError(
            404,
            "model_not_found",
            f"The catalog has no model '{body.model}'. GET /api/v1/pricing lists what it has.",
            param="model",
        )

    def deploy() -> dict[str, Any]:
        return body_of(deployments.deploy(card, Choice(body.engine or "", body.devices)))

    return JsonResponse(await hop(deploy), status=201)


@router.post(
    "/deployments/{deployment_id}/start",
    auth=DEPLOYER,
    summary="Start a deployment",
    response=answers.Deployment,
)
async def start_deployment(request: HttpRequest, deployment_id: str) -> HttpResponseBase:
    """Serve its model again."""
    return JsonResponse(await hop(change, deployment_id, deployments.start))


@router.post(
    "/deployments/{deployment_id}/stop",
    auth=DEPLOYER,
    summary="Stop a deployment",
    response=answers.Deployment,
)
async def stop_deployment(request: HttpRequest, deployment_id: str) -> HttpResponseBase:
    """Stop its pods once their jobs are done; requests for it are answered 503."""
    return JsonResponse(await hop(change, deployment_id, deployments.stop))


def change(deployment_id: str, verb: Any) -> dict[str, Any]:
    return body_of(verb(find(deployment_id)))


def body_of(deployment: Deployment) -> dict[str, Any]:
    return deployment_body(overview.one(deployment))


def find(deployment_id: str) -> Deployment:
    deployment = Deployment.objects.filter(id=deployment_id).first()
    if deployment is None:
        raise ApiError(
            404, "deployment_not_found", f"There is no deployment '{deployment_id}'.", param="id"
        )
    return deployment


def serving_of(deployment: Deployment) -> Serving:
    serving = deployments.serving(deployment.model)
    assert serving is not None
    return serving


def deployment_body(seen: DeploymentView) -> dict[str, Any]:
    """Times in seconds; `estimated_time_ms` is for a job that came now, until its end."""
    return {
        "id": seen.id,
        "object": "deployment",
        "model": seen.model,
        "engine": seen.engine,
        "engine_reason": seen.engine_reason,
        "devices": seen.devices,
        "status": "running" if seen.running else "stopped",
        "phase": seen.phase,
        "progress": seen.progress,
        "pinned": seen.pinned,
        "replicas": seen.replicas,
        "idle_seconds": seen.idle_seconds,
        "pods": [
            {**asdict(pod), "uptime_seconds": round(pod.uptime_seconds, 1)} for pod in seen.pods
        ],
        "queue": {
            "queued": seen.queued,
            "running": sum(pod.busy for pod in seen.pods),
            "oldest_seconds": round(seen.waited_s, 1),
        },
        "load_seconds": rounded(seen.load_seconds),
        "run_seconds": rounded(seen.run_seconds),
        "run_p50_seconds": rounded(seen.run_p50),
        "run_p90_seconds": rounded(seen.run_p90),
        "estimated_time_ms": None if seen.wait_s is None else round(seen.wait_s * 1000),
        "error": seen.error or None,
    }


def rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


@health_router.get(
    "/deployments/{deployment_id}/health",
    auth=Key("read", polling=True),
    summary="Check a deployment",
    response={200: answers.Health, 503: answers.Health},
)
async def deployment_health(
    request: HttpRequest, deployment_id: str, strict: Annotated[bool, Query()] = False
) -> HttpResponseBase:
    """How a deployment is: always 200, or 503 unless healthy with `strict=1`."""
    started = time.perf_counter()
    body = await hop(health, deployment_id)
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body |= {
        "timestamp": now,
        "response_time_ms": round((time.perf_counter() - started) * 1000),
        "last_checked": now,
    }
    status = 503 if strict and body["status"] != "healthy" else 200
    return JsonResponse(body, status=status)


def health(deployment_id: str) -> dict[str, Any]:
    """A deployment that is scaled to zero is healthy: its next job starts a pod."""
    serving = serving_of(find(deployment_id))
    queue = valkey_answers()
    if not serving.running:
        status = "stopped"
    elif serving.error:
        status = "unhealthy"
    else:
        status = "healthy" if queue else "degraded"
    engine = {None: "cold", "ready": "running"}.get(serving.phase, serving.phase)
    waiting = Job.objects.filter(state=Job.State.QUEUED, model=serving.model)[:1000].count()
    return {
        "status": status,
        "services": {
            "ollama": engine,
            "webui": "running",
            "engine": engine,
            "queue": "running" if queue else "unreachable",
            "database": "running",
        },
        "deployment_status": "running" if serving.running else "stopped",
        "model": serving.model,
        "waiting": waiting,
        "error": serving.error or None,
    }
