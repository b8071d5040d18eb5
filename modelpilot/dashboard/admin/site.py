"""The operators' pages under /admin/: who may open them, what they hold, and the front page."""

from collections.abc import Callable
from typing import Any

from csp.constants import UNSAFE_EVAL, UNSAFE_INLINE
from csp.decorators import csp_update
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.http import url_has_allowed_host_and_scheme
from unfold.sites import UnfoldAdminSite

from billing.models import Account, PriceChange, Purchase, RedeemCode, Transfer
from modelpilot.accounts.models import ApiKey, AuditEntry, Invitation, User
from modelpilot.accounts.operators import may_operate, operators_only
from modelpilot.dashboard.admin import accounts, fleet, front, jobs, money
from modelpilot.fleet.models import Deployment, Node, Pod
from modelpilot.jobs.models import Job, WebhookDelivery, WebhookEndpoint

# Its pages are made by unfold: Alpine compiles what stands in attributes, and colours are inline.
# Nothing comes from anybody else here either, and no other page is let off.
POLICY = {"script-src": [UNSAFE_EVAL], "style-src": [UNSAFE_INLINE]}

View = Callable[..., Any]


class Site(UnfoldAdminSite):
    index_title = "Overview"
    enable_nav_sidebar = True

    def has_permission(self, request: HttpRequest) -> bool:
        """Operators only. The one place that decides who sees anything of this."""
        return may_operate(request)

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        return csp_update(POLICY)(super().admin_view(view, cacheable))

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Where `admin_view` sends who may not: there is one way to sign in, and it is not here."""
        return to_what_was_wanted(request)

    def logout(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        logout(request)
        return redirect("front")

    def password_change(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return redirect("account_change_password")

    def index(self, request: HttpRequest, extra_context: Any = None) -> TemplateResponse:
        page: TemplateResponse = super().index(
            request, {**front.content(), **(extra_context or {})}
        )
        return page


@operators_only
def to_what_was_wanted(request: HttpRequest) -> HttpResponse:
    wanted = request.GET.get("next", "")
    ours = wanted.startswith("/") and url_has_allowed_host_and_scheme(wanted, allowed_hosts=None)
    return HttpResponseRedirect(wanted) if ours else redirect("admin:index")


site = Site()
for model, admin in {
    User: accounts.UserAdmin,
    ApiKey: accounts.ApiKeyAdmin,
    Invitation: accounts.InvitationAdmin,
    AuditEntry: accounts.AuditEntryAdmin,
    Account: money.AccountAdmin,
    Transfer: money.TransferAdmin,
    Purchase: money.PurchaseAdmin,
    PriceChange: money.PriceChangeAdmin,
    RedeemCode: money.RedeemCodeAdmin,
    Job: jobs.JobAdmin,
    WebhookEndpoint: jobs.WebhookEndpointAdmin,
    WebhookDelivery: jobs.WebhookDeliveryAdmin,
    Deployment: fleet.DeploymentAdmin,
    Node: fleet.NodeAdmin,
    Pod: fleet.PodAdmin,
}.items():
    site.register(model, admin)


def mark(request: HttpRequest) -> str:
    return static("modelpilot/mark.svg")


def style(request: HttpRequest) -> str:
    return static("modelpilot/admin.css")


def entry(title: str, icon: str, name: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": reverse_lazy(name)}


def rows_of(title: str, icon: str, table: str) -> dict[str, Any]:
    return entry(title, icon, f"admin:{table}_changelist")


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    return [
        {"items": [entry("Overview", "monitoring", "admin:index")]},
        {
            "title": "People",
            "items": [
                rows_of("Accounts", "group", "accounts_user"),
                rows_of("Registration", "mail", "accounts_invitation"),
                rows_of("API keys", "key", "accounts_apikey"),
                rows_of("Audit log", "history", "accounts_auditentry"),
            ],
        },
        {
            "title": "Money",
            "items": [
                rows_of("Purchases", "payments", "billing_purchase"),
                rows_of("Prices", "sell", "billing_pricechange"),
                rows_of("Redeem codes", "redeem", "billing_redeemcode"),
                rows_of("Ledger accounts", "account_balance", "billing_account"),
                rows_of("Transfers", "swap_horiz", "billing_transfer"),
            ],
        },
        {
            "title": "Work",
            "items": [
                rows_of("Jobs", "task", "jobs_job"),
                rows_of("Webhooks", "webhook", "jobs_webhookendpoint"),
                rows_of("Deliveries", "outgoing_mail", "jobs_webhookdelivery"),
            ],
        },
        {
            "title": "Machines",
            "items": [
                entry("Deployments", "dns", "deployments"),
                rows_of("Deployed models", "deployed_code", "fleet_deployment"),
                rows_of("Pods", "memory", "fleet_pod"),
                rows_of("Nodes", "host", "fleet_node"),
            ],
        },
    ]
