from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from modelpilot import durations
from modelpilot.accounts import keys
from modelpilot.accounts.keys import Bounds
from modelpilot.accounts.models import ApiKey, Permission, User
from modelpilot.fleet.catalog import cards
from modelpilot.jobs import budgets
from modelpilot.management import caps

T = TypeVar("T")
NONE = "none"


class Command(BaseCommand):
    help = "Make, list, limit, rotate and revoke API keys. A new key is the last line, shown once."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="make a key for an account")
        create.add_argument("email")
        create.add_argument("--name", default="manage.py", help="what its owner calls it")
        create.add_argument(
            "--permissions",
            default=",".join(Permission.values),
            help="what it may do (default: %(default)s)",
        )
        add_bounds(create)
        listing = verbs.add_parser("list", help="show the keys of an account")
        listing.add_argument("email")
        limit = verbs.add_parser("limit", help="change what a key may do at most")
        limit.add_argument("id", type=int)
        add_bounds(limit)
        rotate = verbs.add_parser("rotate", help="replace a key's secret")
        rotate.add_argument("id", type=int)
        rotate.add_argument(
            "--overlap",
            default="24h",
            help="how long the old one still works, such as 0, 30m or 7d (default: %(default)s)",
        )
        revoke = verbs.add_parser("revoke", help="refuse a key from now on")
        revoke.add_argument("id", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        verb: Callable[..., None] = getattr(self, options["verb"])
        verb(options)

    def create(self, options: dict[str, Any]) -> None:
        user = account(options["email"])
        permissions = permissions_of(options["permissions"])
        with transaction.atomic():
            key = keys.create(
                user, name=options["name"], permissions=permissions, **bounds_of(options)
            )
            caps.put_caps(options, user.id, ApiKey.objects.get(digest=keys.digest(key)).id)
        self.stdout.write(f"A key of {user.email}, shown only now:")
        self.stdout.write(key)

    def list(self, options: dict[str, Any]) -> None:
        for key in account(options["email"]).keys.order_by("id"):
            self.stdout.write(line(key))

    def limit(self, options: dict[str, Any]) -> None:
        key = found(options["id"])
        bounds = bounds_of(options)
        capped = caps.put_caps(options, key.user_id, key.id)
        if not bounds and not capped:
            raise CommandError("Say what to change; `manage.py key limit --help` lists it.")
        if bounds:
            keys.limit(key, **bounds)
        key.refresh_from_db()
        self.stdout.write(line(key))

    def rotate(self, options: dict[str, Any]) -> None:
        overlap = timedelta(seconds=parsed("--overlap", durations.seconds, options["overlap"]))
        key = found(options["id"])
        try:
            fresh = keys.rotate(key, overlap)
        except ValueError as error:
            raise CommandError(str(error)) from None
        until = f"works until {moment(timezone.now() + overlap)}" if overlap else "works no longer"
        self.stdout.write(f"The old secret of key {key.id} {until}. The new one, shown only now:")
        self.stdout.write(fresh)

    def revoke(self, options: dict[str, Any]) -> None:
        key = found(options["id"])
        keys.revoke(key)
        self.stdout.write(f"Key {key.id} ({key}) is refused from now on.")


def add_bounds(parser: Any) -> None:
    parser.add_argument("--models", help="the only ones that it may call, or all: echo,kokoro")
    parser.add_argument("--requests-per-minute", help="a number, or none")
    parser.add_argument("--concurrency", help="jobs queued and running at once; a number, or none")
    caps.add_caps(parser)
    parser.add_argument("--expires", help="in how long, such as 30d; or a day (UTC); or never")


def bounds_of(options: dict[str, Any]) -> Bounds:
    """The bounds that were given."""
    bounds = Bounds()
    if options["models"] is not None:
        bounds["allowed_models"] = models_of(options["models"])
    if options["requests_per_minute"] is not None:
        bounds["requests_per_minute"] = parsed(
            "--requests-per-minute", number, options["requests_per_minute"]
        )
    if options["concurrency"] is not None:
        bounds["concurrency"] = parsed("--concurrency", number, options["concurrency"])
    if options["expires"] is not None:
        bounds["expires_at"] = parsed("--expires", expiry, options["expires"])
    return bounds


def parsed(option: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise CommandError(f"{option}: {error}") from None


def number(text: str) -> int | None:
    """A whole number from 1, or None of "none"."""
    if text == NONE:
        return None
    if not text.isdecimal() or not 1 <= int(text) < 2**31:
        raise ValueError(f"{text!r} is neither a whole number from 1 nor none.")
    return int(text)


def expiry(text: str) -> datetime | None:
    """A moment in UTC, of a duration from now or a day; None of "never"."""
    if text == "never":
        return None
    try:
        return timezone.now() + timedelta(seconds=durations.seconds(text))
    except ValueError:
        pass
    try:
        day = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither 30d, nor 2030-12-31, nor never.") from None
    return day if timezone.is_aware(day) else timezone.make_aware(day)


def models_of(text: str) -> list[str] | None:
    """Catalog ids, or None of "all"."""
    if text == "all":
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise CommandError("--models takes models of the catalog, separated by commas, or all.")
    ids = []
    for name in names:
        card = cards().find(name)
        if card is None:
            raise CommandError(f"--models: there is no {name!r} in the catalog.")
        ids.append(card.id)
    return ids


def permissions_of(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = sorted(set(names) - set(Permission.values))
    if unknown or not names:
        raise CommandError(
            f"--permissions takes some of {','.join(Permission.values)}, not {text!r}."
        )
    return names


def account(email: str) -> User:
    user = User.objects.filter(email=email.lower()).first()
    if user is None:
        raise CommandError(f"There is no account {email}; `manage.py account` makes one.")
    return user


def found(key_id: int) -> ApiKey:
    key = ApiKey.objects.filter(id=key_id).first()
    if key is None:
        raise CommandError(f"There is no key {key_id}; `manage.py key list EMAIL` shows them.")
    return key


def line(key: ApiKey) -> str:
    """All about a key but its secret."""
    parts = [
        f"{key.id}  {key}  {','.join(key.permissions)}",
        f"models: {','.join(key.allowed_models) if key.allowed_models is not None else 'all'}",
    ]
    if key.requests_per_minute:
        parts.append(f"{key.requests_per_minute} requests a minute")
    if key.concurrency:
        parts.append(f"{key.concurrency} jobs at once")
    parts += map(caps.line, budgets.of_key(key))
    if key.previous_until and key.previous_until > timezone.now():
        parts.append(f"old secret works until {moment(key.previous_until)}")
    if key.expires_at:
        parts.append(f"expires {moment(key.expires_at)}")
    parts.append(f"last used {moment(key.last_used_at)}" if key.last_used_at else "never used")
    if key.revoked_at:
        parts.append(f"REVOKED {moment(key.revoked_at)}")
    return "; ".join(parts)


def moment(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"
