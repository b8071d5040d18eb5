"""Outputs by signed link: whoever has it may see the file until it expires."""

import uuid

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from modelpilot.api.envelope import respond
from modelpilot.errors import ApiError
from modelpilot.hop import hop
from modelpilot.jobs import storage
from modelpilot.jobs.models import Output

EXPIRED = ApiError(
    404, "output_not_found", "This link is wrong or has expired. Read the job again for a new one."
)


def absolute(request: HttpRequest, path: str) -> str:
    """The address that a client can use, at PUBLIC_URL or where it has found us."""
    return settings.PUBLIC_URL + path if settings.PUBLIC_URL else request.build_absolute_uri(path)


async def show_output(request: HttpRequest, output_id: uuid.UUID) -> HttpResponseBase:
    return await hop(read_output, request, output_id)


def read_output(request: HttpRequest, output_id: uuid.UUID) -> HttpResponseBase:
    expires, signature = request.GET.get("expires", ""), request.GET.get("signature", "")
    if not storage.signature_holds(output_id, expires, signature):
        return respond(EXPIRED)
    output = Output.objects.filter(id=output_id).first()
    if output is None:
        return respond(EXPIRED)
    return shown_output(output)


def shown_output(output: Output) -> HttpResponseBase:
    """The file itself, to somebody who may see it."""
    response = HttpResponse(storage.read(output), content_type=output.media_type)
    # What a model made must never run as a page of ours.
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response.headers["Cache-Control"] = "private, max-age=900"
    response.headers["Content-Disposition"] = f'inline; filename="{output.name}"'
    return response
