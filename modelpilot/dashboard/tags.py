"""Tags and filters that every template has."""

from datetime import UTC, datetime
from decimal import Decimal

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
def usd(micros: int) -> str:
    """Micro-dollars as a field for a number takes them."""
    return f"{Decimal(micros) / 1_000_000:.6f}".rstrip("0").rstrip(".")


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
def percent(share: float) -> str:
    return f"{share:.0%}"


BADGES = {
    "queued": "info",
    "running": "info live",
    "succeeded": "ok",
    "failed": "bad",
    "pending": "info live",
    "delivered": "ok",
}


@register.filter
def badge(state: str) -> SafeString:
    """The state of a job or a delivery, in its colour."""
    return format_html('<span class="badge {}">{}</span>', BADGES.get(state, ""), state)


@register.filter
def seconds(duration: float | None) -> str:
    """A duration as people say it: 38 ms, 1.24 s, 2 min 5 s."""
    if duration is None:
        return "–"  # noqa: RUF001
    if duration < 0.9995:
        return f"{duration * 1000:.0f} ms"
    if duration < 59.95:
        return f"{duration:.2f} s" if duration < 9.995 else f"{duration:.1f} s"
    minutes, rest = divmod(round(duration), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


@register.filter
def kind_icon(kind: str) -> SafeString:
    return icon(KIND_ICONS.get(kind, "bolt"))


KIND_ICONS = {
    "text": "chat",
    "image": "image",
    "audio": "sound",
    "video": "film",
    "embedding": "cube",
    "transcription": "book",
}


# The first that is found: browsers name those before them, too.
BROWSERS = {
    "Edg": "Edge",
    "OPR": "Opera",
    "Firefox": "Firefox",
    "Chrome": "Chrome",
    "Safari": "Safari",
}
SYSTEMS = {
    "Android": "Android",
    "iPhone": "an iPhone",
    "iPad": "an iPad",
    "Windows": "Windows",
    "Mac OS": "a Mac",
    "Linux": "Linux",
}


@register.filter
def browser_name(user_agent: str) -> str:
    """Which browser on what, as people say it; else what it says of itself."""
    browser = next((name for word, name in BROWSERS.items() if word in user_agent), None)
    system = next((name for word, name in SYSTEMS.items() if word in user_agent), None)
    if browser is None:
        return user_agent[:60] or "Unknown"
    return f"{browser} on {system}" if system else browser
