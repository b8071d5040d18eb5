from django.urls import include, path

from modelpilot.dashboard import billing, deployments, front, overview, setup, statement
from modelpilot.dashboard.admin.site import site

urlpatterns = [
    path("", front.front, name="front"),
    path("setup/<str:token>", setup.setup, name="setup"),
    path("admin/", site.urls),
    path("accounts/", include("allauth.urls")),
    path("dashboard/", overview.overview, name="overview"),
    path("dashboard/deployments/", deployments.deployments, name="deployments"),
    path("dashboard/deployments/live", deployments.live, name="deployments-live"),
    path("dashboard/billing/success", billing.success, name="billing-success"),
    path("dashboard/billing/statement/<str:token>", statement.statement, name="statement"),
]
