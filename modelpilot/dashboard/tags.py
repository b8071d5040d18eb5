"""Tags and filters that every template has."""

from datetime import UTC, datetime

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()
# Between a number and its unit: no line ends there.
SPACE = "\N{NO-BREAK SPACE}"


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
def about(micros: int) -> str:
    """Micro-dollars, rounded to hundredths of a cent: for sums that are estimates anyway."""
    return dollars(round(micros, -2))


@register.filter
def moment(time: datetime | None) -> SafeString | str:
    """A time: UTC as it is sent, the reader's own once site.js has seen it."""
    if time is None:
        return "–"  # noqa: RUF001
    time = time.astimezone(UTC)
    return format_html(
        '<time datetime="{}">{}</time>', f"{time:%Y-%m-%dT%H:%M:%SZ}", f"{time:%Y-%m-%d %H:%M} UTC"
    )


@register.filter
def megabytes(memory: int) -> str:
    """An amount of memory in MB as people say it."""
    return f"{memory}{SPACE}MB" if memory < 1000 else f"{memory / 1000:.1f}{SPACE}GB"


@register.filter
def lasting(seconds: float) -> str:
    """A duration in seconds, as short as it can be said."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}{SPACE}ms"
    if seconds < 60:
        return f"{seconds:.1f}{SPACE}s" if seconds < 10 else f"{seconds:.0f}{SPACE}s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min"
    hours, rest = divmod(minutes, 60)
    return f"{hours}{SPACE}h {rest}{SPACE}min" if rest else f"{hours}{SPACE}h"


@register.filter
def percent(share: float) -> str:
    return f"{share:.0%}"
