from django.urls import include, path

from modelpilot.dashboard import (
    billing,
    front,
    jobs,
    keys,
    overview,
    setup,
    statement,
    usage,
    webhooks,
)

urlpatterns = [
    path("", front.front, name="front"),
    path("setup/<str:token>", setup.setup, name="setup"),
    path("accounts/", include("allauth.urls")),
    path("dashboard/", overview.overview, name="overview"),
    path("dashboard/jobs/", jobs.jobs, name="jobs"),
    path("dashboard/jobs/<uuid:job_id>/line", jobs.line, name="job-line"),
    path("dashboard/jobs/<str:job_id>/", jobs.job, name="job"),
    path("dashboard/jobs/<str:job_id>/as/<str:language>", jobs.call, name="job-call"),
    path("dashboard/keys/", keys.keys, name="keys"),
    path("dashboard/keys/<int:key_id>/", keys.key, name="key"),
    path("dashboard/keys/<int:key_id>/rotate", keys.rotate, name="key-rotate"),
    path("dashboard/keys/<int:key_id>/revoke", keys.revoke, name="key-revoke"),
    path("dashboard/usage/", usage.usage, name="usage"),
    path("dashboard/webhooks/", webhooks.webhooks, name="webhooks"),
    path("dashboard/webhooks/secret", webhooks.secret, name="webhook-secret"),
    path("dashboard/webhooks/<uuid:endpoint_id>", webhooks.endpoint, name="webhook"),
    path(
        "dashboard/webhooks/deliveries/<uuid:delivery_id>/redeliver",
        webhooks.redeliver,
        name="webhook-redeliver",
    ),
    path("dashboard/billing/success", billing.success, name="billing-success"),
    path("dashboard/billing/statement/<str:token>", statement.statement, name="statement"),
]
