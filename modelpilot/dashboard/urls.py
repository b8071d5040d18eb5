from django.urls import include, path

from modelpilot.dashboard import billing, docs, front, gallery, overview, setup, statement

urlpatterns = [
    path("", front.front, name="front"),
    path("models", gallery.models, name="models"),
    path("models/<str:name>", gallery.model, name="model"),
    path("pricing", gallery.pricing, name="pricing"),
    path("docs/", docs.docs, name="docs"),
    path("docs/<slug:name>", docs.docs, name="docs-page"),
    path("setup/<str:token>", setup.setup, name="setup"),
    path("accounts/", include("allauth.urls")),
    path("dashboard/", overview.overview, name="overview"),
    path("dashboard/billing/", billing.billing, name="billing"),
    path("dashboard/billing/months/<str:name>", billing.month, name="month"),
    path("dashboard/billing/success", billing.success, name="billing-success"),
    path("dashboard/billing/statement/<str:token>", statement.statement, name="statement"),
]
