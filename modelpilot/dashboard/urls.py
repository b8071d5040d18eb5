from django.urls import include, path

from modelpilot.dashboard import billing, front, overview, playground, setup, statement

urlpatterns = [
    path("", front.front, name="front"),
    path("setup/<str:token>", setup.setup, name="setup"),
    path("accounts/", include("allauth.urls")),
    path("dashboard/", overview.overview, name="overview"),
    path("dashboard/playground/", playground.playground, name="playground"),
    path("dashboard/playground/<str:name>/", playground.model, name="playground-model"),
    path("dashboard/billing/success", billing.success, name="billing-success"),
    path("dashboard/billing/statement/<str:token>", statement.statement, name="statement"),
]
