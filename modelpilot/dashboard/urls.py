from django.urls import include, path

from modelpilot.dashboard import (
    billing,
    deployments,
    entrance,
    front,
    overview,
    settings,
    setup,
    statement,
)
from modelpilot.dashboard.admin.site import site

urlpatterns = [
    path("", front.front, name="front"),
    path("setup/<str:token>", setup.setup, name="setup"),
    path("admin/", site.urls),
    path("accounts/invitation/<str:token>", entrance.invitation, name="invitation"),
    path("accounts/waiting/", entrance.waiting, name="account_waiting"),
    path("accounts/", include("allauth.urls")),
    path("dashboard/", overview.overview, name="overview"),
    path("dashboard/settings/", settings.settings, name="settings"),
    path("dashboard/settings/export", settings.export_account, name="settings-export"),
    path("dashboard/settings/delete", settings.delete_account, name="settings-delete"),
    path("dashboard/deployments/", deployments.deployments, name="deployments"),
    path("dashboard/deployments/live", deployments.live, name="deployments-live"),
    path("dashboard/billing/success", billing.success, name="billing-success"),
    path("dashboard/billing/statement/<str:token>", statement.statement, name="statement"),
]
