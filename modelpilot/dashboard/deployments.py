"""What is served and where it sits, for accounts that may deploy.

The page asks for its live part every few seconds; what a deployer does goes through the API.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from modelpilot.dashboard.shell import deployers_only
from modelpilot.fleet import stock
from modelpilot.fleet.models import Pod
from modelpilot.fleet.overview import DeploymentView, DeviceView, PodView
from modelpilot.fleet.stock import ModelView, Stock, Weights

# The width of a device's bar in the drawing's own units, and the colours of the stylesheet.
LENGTH = 1000
COLOURS = 5

WEIGHTS = {
    Weights.NONE: "Needs none",
    Weights.HERE: "On this machine",
    Weights.HUB: "Downloadable from the hub",
    Weights.MISSING: "Not here",
}
COMING = {Pod.Phase.STARTING, Pod.Phase.DOWNLOADING, Pod.Phase.LOADING}


@dataclass(frozen=True, slots=True)
class Segment:
    """A pod on its device's bar, from `x` for `width` of LENGTH."""

    x: int
    width: int
    colour: int
    model: str
    pod: PodView


@dataclass(frozen=True, slots=True)
class Bar:
    device: DeviceView
    segments: list[Segment]

    @property
    def percent(self) -> int:
        return round(100 * self.device.used_mb / max(1, self.device.memory_mb))


@dataclass(frozen=True, slots=True)
class Tile:
    """One model's card: `state` in words, and the badge's colour `tone`."""

    model: ModelView
    state: str
    tone: str

    @property
    def weights(self) -> str:
        return WEIGHTS[self.model.weights]

    @property
    def served(self) -> bool:
        return self.model.deployment is not None and self.model.deployment.running


@deployers_only
def deployments(request: HttpRequest) -> HttpResponse:
    return render(request, "dashboard/deployments.html", context(stock.take()))


@deployers_only
def live(request: HttpRequest) -> HttpResponse:
    """The part of the page that changes by itself."""
    return render(request, "dashboard/deployments_live.html", context(stock.take()))


def context(found: Stock) -> dict[str, object]:
    tiles = [tile(model) for model in found.models]
    served = [each for each in tiles if each.model.deployment is not None]
    others = [each for each in tiles if each.model.deployment is None]
    views = [each.model.deployment for each in served if each.model.deployment] + found.gone
    return {
        "bars": list(bars(found.devices, views)),
        "served": sorted(served, key=lambda each: not each.served),
        "available": [each for each in others if each.model.deployable],
        "hindered": [each for each in others if not each.model.deployable],
        "gone": found.gone,
        "pods": sum(len(view.pods) for view in views),
        "queued": sum(view.queued for view in views),
        "busy": sum(pod.busy for view in views for pod in view.pods),
    }


def tile(model: ModelView) -> Tile:
    deployment = model.deployment
    if deployment is None:
        return Tile(model, "not deployed", "")
    if not deployment.running:
        return Tile(model, "stopping" if deployment.pods else "stopped", "")
    if deployment.error:
        return Tile(model, "failing", "bad")
    if deployment.phase in COMING:
        return Tile(model, deployment.phase, "info live")
    if deployment.phase == Pod.Phase.READY:
        busy = any(pod.busy for pod in deployment.pods)
        return Tile(model, "working" if busy else "ready", "ok live" if busy else "ok")
    return Tile(model, "asleep", "warn" if deployment.queued else "")


def bars(devices: list[DeviceView], views: list[DeploymentView]) -> Iterator[Bar]:
    """Each device with its pods side by side; a model has one colour on all of them."""
    sitting = {pod.id: (view.model, pod) for view in views for pod in view.pods}
    models = list(dict.fromkeys(model for model, _ in sitting.values()))
    colours = {model: number % COLOURS + 1 for number, model in enumerate(models)}
    for device in devices:
        yield Bar(device, list(segments(device, sitting, colours)))


def segments(
    device: DeviceView, sitting: Mapping[UUID, tuple[str, PodView]], colours: Mapping[str, int]
) -> Iterator[Segment]:
    # Pods that have grown may together take more than there should be.
    whole = max(1, device.memory_mb, device.used_mb)
    taken = 0
    for number in device.pods:
        if number in sitting:
            model, pod = sitting[number]
            x = LENGTH * taken // whole
            taken += pod.memory_mb
            yield Segment(x, LENGTH * taken // whole - x, colours[model], model, pod)
