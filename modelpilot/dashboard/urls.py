from django.urls import path
from django.views.generic import RedirectView

from modelpilot.dashboard import billing, setup, statement

urlpatterns = [
    # Until there are pages, whoever opens the address in a browser gets the documentation.
    path("", RedirectView.as_view(url="/api/v1/docs")),
    path("setup/<str:token>", setup.setup),
    path("dashboard/billing/success", billing.success),
    path("dashboard/billing/statement/<str:token>", statement.statement, name="statement"),
]
