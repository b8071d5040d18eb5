"""Tags and filters that every template has."""

from datetime import UTC, datetime

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def icon(name: str) -> SafeString:
    """A symbol of icons.svg in the colour and size of the text; said by nobody."""
    return format_html(
        '<svg class="icon" aria-hidden="true"><use href="{}#{}"/></svg>',
        static("modelpilot/icons.svg"),
        name,
    )


@register.filter
def dollars(micros: int | None) -> str:
    """Micro-dollars as people write them: cents, and further digits where there are any."""
    if micros is None:
        return "–"  # noqa: RUF001 - the dash of a cell without a value
    sign = "-" if micros < 0 else ""
    whole, rest = divmod(abs(micros), 1_000_000)
    digits = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}${whole:,}.{digits}"


@register.filter
def moment(time: datetime | None) -> SafeString | str:
    """A time: UTC as it is sent, the reader's own once site.js has seen it."""
    if time is None:
        return "–"  # noqa: RUF001
    time = time.astimezone(UTC)
    return format_html(
        '<time datetime="{}">{}</time>', f"{time:%Y-%m-%dT%H:%M:%SZ}", f"{time:%Y-%m-%d %H:%M} UTC"
    )
