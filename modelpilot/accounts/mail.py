"""Mails of our own, beside those of allauth; all their texts are in `templates/account/email/`."""

import logging
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """What mails call us."""

    name: str
    domain: str


SITE = Site("ModelPilot", urlsplit(settings.SITE_URL).netloc)


def send(template: str, to: str, **context: object) -> bool:
    """Whether the mail went out: not without a mail server, nor while it does not answer."""
    if not settings.EMAIL_URL:
        return False
    context = {**context, "current_site": SITE, "site_url": settings.SITE_URL}
    subject = render_to_string(f"account/email/{template}_subject.txt", context).strip()
    text = render_to_string(f"account/email/{template}_message.txt", context).strip()
    try:
        send_mail(subject, text, None, [to])
    except OSError as error:  # smtplib's own are such, too
        log.error("The mail %s could not be sent: %s", template, error)
        return False
    return True
