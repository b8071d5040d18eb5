"""A page for who plays the bank: every payment, and what can become of it, a button each."""

import html
from collections.abc import Iterator

from tests.fake_stripe.account import Object, StripeAccount

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>The bank</title>
<style>
body {{ font: 16px system-ui; max-width: 60em; margin: 2em auto; padding: 0 1em }}
td {{ padding: .3em 1em .3em 0; vertical-align: top }} form {{ display: inline }}
</style>
<p><b>A stand-in for Stripe.</b> No money moves. Here you are the customer's bank, and whoever works
at Stripe's dashboard.</p>
<table>{rows}</table></html>"""
NOTHING = "<tr><td>Nothing was bought yet.</td></tr>"


def page(account: StripeAccount) -> str:
    with account.lock:
        rows = [row for session in account.all("checkout.session") for row in of(account, session)]
    return PAGE.format(rows="".join(rows) or NOTHING)


def of(account: StripeAccount, session: Object) -> Iterator[str]:
    """The lines of one payment: itself, its refunds, its disputes."""
    name, intent = session["id"], session["payment_intent"]
    if session["status"] == "open":
        pay = f'<a href="/pay/{name}">the page to pay on</a> '
        yield line(
            session["amount_total"], "not paid yet", pay + button("Let it expire", "expire", name)
        )
    elif session["payment_status"] == "unpaid" and intent is not None:
        state = account.objects[intent]["status"]
        waits = button("It arrives", "arrive", name) + button("It never comes", "bounce", name)
        yield line(session["amount_total"], state, waits if state == "processing" else "")
    elif intent is None:
        yield line(session["amount_total"], session["status"], "")
    else:
        yield paid(account, intent)
        for refund in account.all("refund", payment_intent=intent):
            fails = button("It fails", "fail_refund", refund["id"])
            going = refund["status"] == "succeeded"
            yield line(refund["amount"], f"refund {refund['status']}", fails if going else "")
        for dispute in account.all("dispute", payment_intent=intent):
            yield line(dispute["amount"], f"dispute {dispute['status']}", "".join(next_of(dispute)))


def paid(account: StripeAccount, intent: str) -> str:
    charge = account.objects[account.objects[intent]["latest_charge"]]
    left = charge["amount"] - charge["amount_refunded"]
    acts = ""
    if left and not charge["disputed"]:
        acts += button("Refund $1", "refund", intent, amount=min(100, left))
        acts += button("Refund the rest", "refund", intent, amount=left)
    if not charge["disputed"]:
        acts += button("Dispute it", "dispute", intent)
    return line(charge["amount"], "paid", acts)


def next_of(dispute: Object) -> Iterator[str]:
    name, moves = dispute["id"], len(dispute["balance_transactions"])
    if moves == 0:
        yield button("Withdraw the money", "withdraw", name)
    if moves == 1:
        yield button("Give it back", "reinstate", name)
    if dispute["status"] == "needs_response":
        yield button("The customer wins", "close", name, won="false")
        yield button("The customer loses", "close", name, won="true")


def line(cents: int, state: str, acts: str) -> str:
    words = html.escape(state.replace("_", " "))
    return f"<tr><td>${cents / 100:.2f}</td><td>{words}</td><td>{acts}</td></tr>"


def button(label: str, act: str, name: str, **fields: object) -> str:
    hidden = "".join(f'<input type="hidden" name="{k}" value="{v}">' for k, v in fields.items())
    return (
        f'<form method="post" action="/_test/{act}/{name}">{hidden}<button>{label}</button></form> '
    )
