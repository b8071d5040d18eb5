"""`make stripe-demo`: the whole product with a stand-in for Stripe, in a throw-away directory.

It prints where to go by browser or curl. Ctrl-C ends and removes all of it.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fake_stripe.account import StripeAccount
from tests.fake_stripe.delivery import WEBHOOK_SECRET, delivering
from tests.fake_stripe.server import KEY, serving

ROOT = Path(__file__).parent.parent.parent
PORT = os.environ.get("MODELPILOT_PORT", "8000")
SITE = f"http://127.0.0.1:{PORT}"
HELP = """
In a browser: make the operator's account by the link above, and buy credit at
  {site}/dashboard/billing/
What Stripe and banks do to it (refunds, disputes, lost money) you do at
  {fake}/

By curl, as the API's customers do, in another terminal:

  export KEY={key}
  alias api='curl -sS -H "Authorization: Bearer $KEY" -H "Content-Type: application/json"'
  api {site}/api/v1/billing/checkout -d '{{"amount": 10}}'     # open "url" in a browser, and pay
  api {site}/api/v1/billing
  api {site}/api/v1/billing/transfers

The operator's commands need the same environment:

  export MODELPILOT_DATA={data} STRIPE_SECRET_KEY={secret} STRIPE_API_BASE={fake}
  .venv/bin/python manage.py ledger customer@example.com
  .venv/bin/python manage.py refund PURCHASE --amount 4.00
  .venv/bin/python manage.py reconcile

Ctrl-C ends it, and nothing of it stays.
"""


def main() -> None:
    account = StripeAccount()
    with (
        tempfile.TemporaryDirectory(prefix="mp-stripe-") as folder,
        serving(account) as fake,
        delivering(f"{SITE}/api/v1/billing/stripe/webhook") as events,
    ):
        account.listeners.append(events.put)
        environment = {
            **os.environ,
            "MODELPILOT_DATA": str(Path(folder) / "data"),
            "MODELPILOT_PORT": PORT,
            "STRIPE_SECRET_KEY": KEY,
            "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "STRIPE_API_BASE": fake,
        }

        def manage(*words: str) -> subprocess.Popen[str]:
            return subprocess.Popen(
                [sys.executable, "manage.py", *words],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
                # Ctrl-C is ours: the product is stopped below, by one signal.
                start_new_session=True,
            )

        product = manage("up")
        try:
            assert product.stdout is not None
            if not product.stdout.readline().startswith("ready"):
                sys.exit(product.wait())
            said, _ = manage("account", "customer@example.com").communicate()
            print(
                HELP.format(
                    fake=fake,
                    site=SITE,
                    key=said.split()[-1],
                    secret=KEY,
                    data=environment["MODELPILOT_DATA"],
                ),
                flush=True,
            )
            product.wait()
        except KeyboardInterrupt:
            pass
        finally:
            product.terminate()
            product.wait()


signal.signal(signal.SIGTERM, signal.default_int_handler)
main()
