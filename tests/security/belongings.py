"""What alice owns, made inside of the product (by `manage.py shell`): one of everything.

Her things carry words that nobody else's do, so that an answer which holds one of them tells.
"""

import json
import secrets
from typing import Any

from django.conf import settings
from django.core import signing
from django.test import Client

from billing import ledger
from billing.models import Account, Purchase, Transfer
from billing.money import micros
from inference.types import File
from modelpilot.accounts import keys, registration
from modelpilot.accounts.models import ApiKey, AuditEntry, Invitation, User
from modelpilot.fleet.models import Deployment, Node, Pod
from modelpilot.jobs import budgets, webhooks
from modelpilot.jobs.models import Job, WebhookDelivery
from tests.dashboard.jobs import ended, said

# In everything that alice has written, named or made.
WORD = "alicesviolet"
CREDIT = "4711.13"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080600000"
    "01f15c4890000000d49444154789c6360f8cf000000030101003a8d4e4c0000000049454e44ae426082"
)


def make() -> None:
    """Print a new cast as JSON: alice with her things, charlie and bob with nothing."""
    number = secrets.token_hex(4)
    alice = person(f"violet{number}@example.com")
    bob = person(f"bob{number}@example.com", is_staff=True, can_deploy=True)
    cast: dict[str, Any] = {
        "alice": entrance(alice, f"key of {WORD}"),
        "charlie": entrance(person(f"charlie{number}@example.com"), "his"),
        "bob": entrance(bob, "bob's"),
        "things": things(alice),
    }
    print(json.dumps(cast))


def visitor(email: str) -> None:
    """Print somebody new as JSON."""
    user = person(email)
    ledger.grant(user.id, micros("1000"), ref=f"visitor:{user.id}", reason="to try")
    print(json.dumps(entrance(user, "visitor")))


def person(email: str, **fields: Any) -> User:
    user = User.objects.create_user(email, "correct horse battery", **fields)
    ledger.open_account(user.id)
    return user


def entrance(user: User, name: str) -> dict[str, str]:
    """A key and two sessions."""
    return {
        "email": user.email,
        "key": keys.create(user, name=name),
        "session": session(user),
        "spare": session(user),
        "session_name": settings.SESSION_COOKIE_NAME,
    }


def session(user: User) -> str:
    client = Client()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def things(alice: User) -> dict[str, str]:
    """The ids of one of everything."""
    ledger.grant(alice.id, micros(CREDIT), ref=f"matrix:{alice.id}", reason=f"for {WORD}")
    endpoint = webhooks.create(alice.id, f"https://hooks.example.com/{WORD}")
    key = ApiKey.objects.get(user=alice)
    jobs = {kind: job_of(alice, kind, key.id) for kind in ("text", "audio", "image", "video")}
    budgets.put(alice.id, "day", budgets.changed(None, micros("77.07")), key=key.id)
    purchase = Purchase.objects.create(
        owner=alice, amount=micros("47.11"), session=f"cs_test_{WORD}{secrets.token_hex(8)}"
    )
    deployment = Deployment.objects.get(model="echo")
    registration.invite(f"invited-by-{WORD}@example.com")
    return {
        "user": str(alice.id),
        "key": str(key.id),
        **{kind: str(job.id) for kind, job in jobs.items()},
        "output": str(jobs["image"].outputs.all()[0].id),
        "endpoint": str(endpoint.id),
        "endpoint_secret": endpoint.secret,
        "account_secret": webhooks.signer(alice.id).secret,
        "delivery": str(WebhookDelivery.objects.filter(owner=alice).order_by("id")[0].id),
        "purchase": str(purchase.id),
        "session": str(purchase.session),
        "transfer": str(Transfer.objects.filter(credit__owner=alice).order_by("-id")[0].id),
        "account": str(Account.objects.get(owner=alice, code="user").id),
        "audit": str(AuditEntry.objects.order_by("id")[0].id),
        "invitation": str(Invitation.objects.order_by("-id")[0].id),
        "deployment": deployment.id,
        "node": str(Node.objects.all()[0].pk),
        "pod": str(getattr(Pod.objects.first(), "pk", "none")),
        "signed": signing.dumps(alice.id, salt="another salt"),
    }


FILES = {
    "audio": (File("speech.wav", "audio/wav", b"RIFF" + WORD.encode()),),
    "image": (File("image.png", "image/png", PNG),),
    "video": (
        File("poster.jpg", "image/jpeg", b"\xff\xd8" + WORD.encode()),
        File("video.mp4", "video/mp4", b"....ftypisom" + WORD.encode()),
    ),
}
RESULTS: dict[str, dict[str, Any]] = {
    "text": said(f"The answer to {WORD}."),
    "audio": {"text": WORD, "sample_rate": 22_050, "warnings": [WORD]},
    "image": {"images": [{"width": 1, "height": 1}], "warnings": [WORD]},
    "video": {"width": 16, "height": 16, "num_frames": 8, "fps": 8, "warnings": [WORD]},
}
REQUESTS: dict[str, dict[str, Any]] = {
    "text": {"messages": [{"role": "user", "content": WORD}]},
    "audio": {"text": WORD, "voice": None, "speed": 1.0, "format": "wav"},
    "image": {"prompt": WORD, "width": 1, "height": 1, "steps": 1, "seed": 1, "n": 1},
    "video": {"prompt": WORD, "width": 16, "height": 16, "num_frames": 8, "fps": 8, "seed": 1},
}
ROUTES = {"text": "chat/completions", "audio": "generate/audio", "image": "generate/image",
          "video": "generate/video"}  # fmt: skip


def job_of(alice: User, kind: str, key: int) -> Job:
    """A finished job of a model that no pod of this product serves."""
    return ended(
        alice,
        key=key,
        kind=kind,
        model=f"{WORD}-{kind}",
        route=ROUTES[kind],
        request=REQUESTS[kind],
        result=RESULTS[kind],
        files=FILES.get(kind, ()),
    )
