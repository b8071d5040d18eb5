"""What an installation of 0.2.0 has lived through, and that a newer one has lost nothing of it.

`live` speaks to the old version, so it knows only what that one had.
"""

import hashlib
import json
import re
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import requests

from modelpilot import embedded
from tests.api.caller import Caller, error_of
from tests.api.test_billing import buy, completed
from tests.fake_stripe.account import StripeAccount
from tests.fake_stripe.delivery import WEBHOOK_SECRET, send
from tests.fake_stripe.server import KEY
from tests.leftovers import eventually
from tests.receiver import receiver
from tests.system import System

# The last commit that says 0.2.0, and has all that its changelog names.
COMMIT = "2e56433addbc64b203c547f59fdd7cba61b53365"
WEBHOOK = "/api/v1/billing/stripe/webhook"
LATER = {"Prefer": "respond-async"}
PASSWORD = "correct horse battery"
# Who moved what to whom: a migration has no business in there.
TRANSFERS = """
SELECT id, debit_id, credit_id, amount, code, ref, kind, pending_id, created_at::text
FROM billing_transfer WHERE id <= %s ORDER BY id
"""


@dataclass
class Kept:
    """One job as its owner saw it: what it cost, said and made (names and digests)."""

    owner: str
    id: str
    state: str
    cost: float
    text: str | None
    outputs: list[list[str]]


@dataclass
class Facts:
    """Everything that must be so afterwards, too. Keys by person; `live` are jobs under way."""

    keys: dict[str, str] = field(default_factory=dict)
    revoked: str = ""
    code: str = ""
    balances: dict[str, dict[str, float]] = field(default_factory=dict)
    purchases: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[Kept] = field(default_factory=list)
    live: list[str] = field(default_factory=list)
    webhooks: list[dict[str, Any]] = field(default_factory=list)
    deliveries: int = 0
    idempotent: list[str] = field(default_factory=list)
    transfers: str = ""
    newest_transfer: int = 0

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Facts":
        fields = json.loads(path.read_text())
        return cls(**{**fields, "jobs": [Kept(**job) for job in fields["jobs"]]})


def settings(stripe_base: str) -> dict[str, str]:
    return {
        "STRIPE_SECRET_KEY": KEY,
        "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "STRIPE_API_BASE": stripe_base,
        "MODELPILOT_WEBHOOK_HTTP_HOSTS": "127.0.0.1",
    }


def live(system: System, stripe: StripeAccount) -> Facts:
    """Do a bit of everything. Two long jobs still run at the end."""
    facts = Facts()
    finish_set_up(system)
    callers = people(system, facts)
    generate(callers["alice"], facts)
    pay(system, callers["dora"], stripe, facts)
    hear(callers["emil"], facts)
    for words in ("on and on", "and on"):
        later = callers["alice"].chat(words, "echo-slow", max_tokens=1000, headers=LATER)
        facts.live.append(later.json()["id"])
    for job in facts.live:
        callers["alice"].running(job)
    facts.balances = {name: caller.get("balance").json() for name, caller in callers.items()}
    facts.jobs = [job for name, caller in callers.items() for job in ended_jobs(name, caller)]
    remember_transfers(system.data, facts)
    return facts


def finish_set_up(system: System) -> None:
    """The operator follows the link of the first run."""
    program = (
        "from modelpilot.accounts import first_run\n"
        "from modelpilot.accounts.models import User\n"
        "operator = User.objects.get(email=first_run.EMAIL)\n"
        f"first_run.finish(operator, 'bob@example.com', {PASSWORD!r})\n"
    )
    system.manage("shell", "-c", program)


def people(system: System, facts: Facts) -> dict[str, Caller]:
    facts.keys = {
        "bob": system.account("bob@example.com"),
        "alice": system.account("alice@example.com", "10"),
        "dora": system.account("dora@example.com"),
        "emil": system.account("emil@example.com", "1"),
    }
    bounds = ("--concurrency=3", "--models=echo,piper-joe", "--requests-per-minute=1000")
    made = system.manage("key", "create", "emil@example.com", *bounds)
    facts.keys["emil bounded"] = made.split()[-1]
    facts.revoked = system.manage("key", "create", "emil@example.com").split()[-1]
    numbers = re.findall(r"^\s*#?(\d+)", system.manage("key", "list", "emil@example.com"), re.M)
    system.manage("key", "revoke", numbers[-1])
    facts.code = system.manage("codes", "create", "7.00", "--days=36500").split()[-1]
    return {
        name: Caller(system.base_url, key) for name, key in facts.keys.items() if " " not in name
    }


def generate(alice: Caller, facts: Facts) -> None:
    key = uuid.uuid4().hex
    first = alice.chat("one two three", headers={"Idempotency-Key": key})
    assert first.status_code == 200, first.text
    facts.idempotent = [key, first.json()["choices"][0]["message"]["content"]]
    with alice.stream("four five") as lines:
        assert lines.text()
    assert alice.post("completions", {"model": "echo", "prompt": "six"}).status_code == 200
    assert alice.chat("[error]", "echo-slow").status_code == 500
    stopped = alice.chat("never ending", "echo-slow", max_tokens=1000, headers=LATER).json()["id"]
    alice.running(stopped)
    alice.post(f"jobs/{stopped}/cancel")
    alice.ended(stopped)
    make(alice, "audio/speech", model="piper-joe", input="Hi.", voice="alloy")
    make(alice, "generate/image", model="emoji-64", prompt="a red apple", seed=1, steps=4)
    make(alice, "generate/video", model="emoji-64-video", prompt="a heart", seed=1, steps=4)


def make(caller: Caller, path: str, **body: object) -> None:
    """A file of some kind, however long its model takes to load on a busy machine."""
    answer = caller.post(path, body)
    assert answer.status_code in (200, 202), answer.text
    job = caller.ended(caller.newest_job()["id"], 240)
    assert job["state"] == "succeeded", job
    assert job["outputs"], job


def pay(system: System, dora: Caller, stripe: StripeAccount, facts: Facts) -> None:
    """A purchase with its bonus, one of which a part is refunded, and one that is never paid."""
    for _ in range(2):
        _, session = buy(dora, stripe)
        assert send(dora.base_url + WEBHOOK, completed(stripe, session)) == 200
    assert dora.post("billing/checkout", {"amount": 6}).status_code == 201
    newest_paid = dora.get("billing/purchases").json()["data"][1]
    system.manage("refund", newest_paid["id"], "--amount", "4.00")
    other = system.manage("codes", "create", "3.00").split()[-1]
    assert dora.post("billing/redeem", {"code": other}).status_code == 200
    facts.purchases = dora.get("billing/purchases").json()["data"]


def hear(emil: Caller, facts: Facts) -> None:
    """Webhooks: one that is delivered, and an endpoint that nobody answers for any more."""
    with receiver() as hook:
        endpoint = emil.post("webhooks", {"url": hook.url}).json()
        assert emil.chat("tell me").status_code == 200
        hook.wait_for(1, 30)
        eventually(lambda: deliveries(emil)[0]["state"] == "delivered")
    facts.webhooks = [endpoint]
    facts.deliveries = len(deliveries(emil))


def deliveries(caller: Caller) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = caller.get("webhooks/deliveries").json()["data"]
    return found


def ended_jobs(owner: str, caller: Caller) -> list[Kept]:
    listed = caller.get("jobs", params={"limit": 100}).json()["data"]
    return [
        seen(owner, caller, job["id"])
        for job in listed
        if job["state"] not in ("queued", "running")
    ]


def seen(owner: str, caller: Caller, job_id: str) -> Kept:
    job = caller.job(job_id)
    choices = (job["result"] or {}).get("choices") or [{}]
    outputs = [[output["media_type"], digest(caller, output["url"])] for output in job["outputs"]]
    return Kept(owner, job["id"], job["state"], job["cost"], choices[0].get("text"), outputs)


def digest(caller: Caller, url: str) -> str:
    link = urlsplit(url)
    answer = requests.get(f"{caller.base_url}{link.path}?{link.query}", timeout=30)
    assert answer.status_code == 200, answer.text
    return hashlib.sha256(answer.content).hexdigest()


def transfers(data: Path, newest: int) -> str:
    with psycopg.connect(embedded.database_url(data)) as connection:
        rows = connection.execute(TRANSFERS, [newest]).fetchall()
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def remember_transfers(data: Path, facts: Facts) -> None:
    with psycopg.connect(embedded.database_url(data)) as connection:
        row = connection.execute("SELECT max(id) FROM billing_transfer").fetchone()
    assert row is not None
    facts.newest_transfer = row[0]
    facts.transfers = transfers(data, facts.newest_transfer)


def assert_kept(system: System, facts: Facts) -> str:
    """Everything is as it was, works, and what was under way ends; what was looked at."""
    callers = {name: Caller(system.base_url, key) for name, key in facts.keys.items()}
    assert transfers(system.data, facts.newest_transfer) == facts.transfers
    for job in facts.jobs:
        assert seen(job.owner, callers[job.owner], job.id) == job
    assert_money_kept(callers, facts)
    assert_rights_kept(system, callers, facts)
    alice, emil = callers["alice"], callers["emil"]
    assert [endpoint["id"] for endpoint in emil.get("webhooks").json()["data"]] == [
        facts.webhooks[0]["id"]
    ]
    again = emil.get(f"webhooks/{facts.webhooks[0]['id']}").json()
    assert again["secret"] == facts.webhooks[0]["secret"]
    assert len(deliveries(emil)) == facts.deliveries
    for live_job in facts.live:
        ended = alice.ended(live_job, 180)
        assert (ended["state"], ended["cost"]) == ("succeeded", 0.001), ended
    eventually(lambda: alice.held() == 0)
    assert_new_works(system, callers, facts)
    assert "The books are proved." in system.manage("reconcile")
    return f"{len(facts.jobs)} jobs, {len(facts.live)} under way, {facts.newest_transfer} transfers"


def assert_money_kept(callers: dict[str, Caller], facts: Facts) -> None:
    for name, balance in facts.balances.items():
        # What is held of a job that has ended meanwhile was spent.
        now = callers[name].get("balance").json()
        assert now["available"] == balance["available"], name
    bought = [(each["id"], each["amount"], each["bonus"]) for each in facts.purchases]
    listed = callers["dora"].get("billing/purchases").json()["data"]
    assert [(each["id"], each["amount"], each["bonus"]) for each in listed] == bought


def assert_rights_kept(system: System, callers: dict[str, Caller], facts: Facts) -> None:
    error_of(Caller(system.base_url, facts.revoked).get("balance"), 401, "invalid_api_key")
    bounded = callers["emil bounded"].get("key").json()["limits"]
    assert (bounded["concurrency"], bounded["requests_per_minute"]) == (3, 1000)
    error_of(callers["emil bounded"].chat("hello", "echo-slow"), 403, "permission_denied")
    assert callers["bob"].get("deployments").status_code == 200
    error_of(callers["alice"].post("deployments", {"model": "echo"}), 403, "permission_denied")


def assert_new_works(system: System, callers: dict[str, Caller], facts: Facts) -> None:
    key, text = facts.idempotent
    again = callers["alice"].chat("one two three", headers={"Idempotency-Key": key})
    assert again.json()["choices"][0]["message"]["content"] == text
    assert callers["emil bounded"].chat("hello").status_code == 200
    redeemed = callers["emil"].post("billing/redeem", {"code": facts.code})
    assert redeemed.json()["amount"] == 7
    assert callers["dora"].get("billing/statement").status_code == 200
    assert sign_in(system).get(f"{system.base_url}/dashboard/").status_code == 200


def sign_in(system: System) -> requests.Session:
    """The operator's e-mail and password, as they were set up once."""
    session = requests.Session()
    page = session.get(f"{system.base_url}/accounts/login/", timeout=30)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert token is not None
    form = {"login": "bob@example.com", "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
    answer = session.post(f"{system.base_url}/accounts/login/", form, timeout=30)
    assert "/accounts/" not in answer.url, answer.url
    return session
