"""What should run, where it can, and what does."""

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from modelpilot.dashboard.admin.asking import DANGER, PRIMARY, Acting, asks
from modelpilot.dashboard.admin.listing import NOTHING, Listing, link_to, list_of, shown
from modelpilot.dashboard.tags import megabytes
from modelpilot.fleet import deployments
from modelpilot.fleet.models import Deployment, Node, Pod

CHANGEABLE = ("pinned", "replicas", "idle_seconds")


class DeploymentForm(forms.ModelForm):  # type: ignore[type-arg]
    replicas = forms.IntegerField(
        min_value=1, max_value=64, widget=UnfoldAdminIntegerFieldWidget(), help_text="Pods at most."
    )
    idle_seconds = forms.IntegerField(
        min_value=0,
        max_value=30 * 86_400,
        required=False,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Without work for so long, its pods stop. Empty: the default.",
    )


class DeploymentAdmin(Acting, Listing):
    form = DeploymentForm
    list_display = ("model", "desired", "running", "stays", "replicas", "idle_seconds", "failing")
    ordering = ("model",)
    changeable = CHANGEABLE
    fields = (
        "id", "model", "desired", *CHANGEABLE, "engine", "devices", "running", "load_seconds",
        "run_seconds", "failures", "error", "retry_at", "created_at",
    )  # fmt: skip
    readonly_fields = (
        "id", "model", "desired", "engine", "devices", "running", "load_seconds", "run_seconds",
        "failures", "error", "retry_at", "created_at",
    )  # fmt: skip
    actions_detail = ("start", "stop")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Deployment]:
        rows: QuerySet[Deployment] = super().get_queryset(request)
        return rows.prefetch_related("pods")

    def save_model(self, request: HttpRequest, obj: Deployment, form: Any, change: Any) -> None:
        deployments.change(obj, **{name: form.cleaned_data[name] for name in form.changed_data})

    @shown("Pods")
    def running(self, deployment: Deployment) -> SafeString | str:
        rows = ((link_to(pod, str(pod.id)[:8]), pod.phase) for pod in deployment.pods.all())
        return format_html_join(", ", "{} {}", rows) or "None"

    @shown("Pinned")
    def stays(self, deployment: Deployment) -> str:
        return "pinned" if deployment.pinned else NOTHING

    @shown("Error")
    def failing(self, deployment: Deployment) -> str:
        return deployment.error[:80]

    @asks(
        "Start",
        "It is served again; a pod starts with its first job.",
        icon="play_arrow",
        variant=PRIMARY,
        # Starting forgets past failures, too.
        when=lambda deployment: (
            deployment.desired != Deployment.Desired.RUNNING or deployment.failures
        ),
    )
    def start(self, deployment: Deployment, form: forms.Form) -> str:
        deployments.start(deployment)
        return f"{deployment.model} is served."

    @asks(
        "Stop",
        "Running jobs finish, waiting ones fail and cost nothing, new ones are refused.",
        icon="stop",
        variant=DANGER,
        when=lambda deployment: deployment.desired == Deployment.Desired.RUNNING,
    )
    def stop(self, deployment: Deployment, form: forms.Form) -> str:
        deployments.stop(deployment)
        return f"{deployment.model} is served no longer."


class NodeAdmin(Listing):
    list_display = ("name", "found", "heartbeat_at")
    ordering = ("name",)
    fields = ("name", "heartbeat_at", "found", "sitting")
    readonly_fields = ("found", "sitting")

    @shown("Devices")
    def found(self, node: Node) -> SafeString | str:
        rows = ((each["name"], megabytes(each["memory_mb"]), each["id"]) for each in node.devices)
        return format_html_join("", "<div>{}, {} for pods ({})</div>", rows) or "None"

    @shown("Pods")
    def sitting(self, node: Node) -> SafeString:
        return list_of(Pod, "All pods")


class PodAdmin(Listing):
    list_display = ("id", "serves", "node", "sits_on", "phase", "memory", "busy", "heartbeat_at")
    list_select_related = ("deployment", "node")
    ordering = ("-created_at", "id")
    fields = (
        "id", "serves", "node_link", "sits_on", "phase", "progress", "memory", "slots", "busy",
        "created_at", "ready_at", "active_at", "heartbeat_at",
    )  # fmt: skip
    readonly_fields = ("serves", "node_link", "sits_on", "memory")

    # Not called `model`: that is the table, to Django.
    @shown("Model")
    def serves(self, pod: Pod) -> SafeString | str:
        return link_to(pod.deployment, pod.deployment.model)

    @shown("Node")
    def node_link(self, pod: Pod) -> SafeString | str:
        return link_to(pod.node)

    @shown("Devices")
    def sits_on(self, pod: Pod) -> str:
        return ", ".join(pod.devices)

    @shown("Memory")
    def memory(self, pod: Pod) -> str:
        each = " on each" if len(pod.devices) > 1 else ""
        resident = megabytes(pod.resident_mb)
        return f"{megabytes(pod.memory_mb)}{each} by its card, {resident} resident"
