"""The hot statements of the ledger, as parts that `jobs.sql` puts into its own.

The same admission through the ORM costs six times the time and fifteen times the CPU,
and a hold must be in one transaction with the job that it pays for.
"""


def hold(condition: str) -> str:
    """Sets `price` aside for `ref`, if `condition`: `hold` has one row, or none when the money
    is short. The conditional UPDATE is the admission: two requests can't both see the last
    dollar. A frozen account admits nothing, nor does one that owes something: what comes free of
    it is repaid first (see ledger.collect)."""
    return f"""
funds AS (
    UPDATE billing_account SET debits_pending = debits_pending + %(price)s::bigint
    WHERE owner_id = %(owner)s::bigint AND code = 'user' AND %(price)s::bigint > 0
      AND NOT frozen AND credits_posted - debits_posted - debits_pending >= %(price)s::bigint
      AND NOT EXISTS (
          SELECT 1 FROM billing_account debt
          WHERE debt.owner_id = %(owner)s::bigint AND debt.code = 'user_debt'
            AND debt.debits_posted > debt.credits_posted)
      AND {condition}
    RETURNING id
), hold AS (
    INSERT INTO billing_transfer (debit_id, credit_id, amount, code, ref, kind)
    SELECT funds.id, revenue.id, %(price)s::bigint, 'hold', %(ref)s::text, 'pending'
    FROM funds, billing_account revenue
    WHERE revenue.code = 'revenue' AND revenue.owner_id IS NULL
    RETURNING id
)"""


# Whether a request that holds nothing is admitted.
ADMITTED_FREE = """
%(price)s::bigint = 0 AND NOT EXISTS (
    SELECT 1 FROM billing_account
    WHERE owner_id = %(owner)s::bigint AND code = 'user' AND frozen)"""

# Resolves the hold of the one row in `done` (hold_id, charge): posts the charge, never
# more than the hold, or voids it when the charge is 0. One job a statement: UPDATE … FROM
# would change an account only once for two jobs of the same owner.
SETTLE = """
held AS (
    SELECT transfer.*, LEAST(done.charge, transfer.amount) AS charge
    FROM done JOIN billing_transfer transfer ON transfer.id = done.hold_id
), counters AS (
    UPDATE billing_account account
    SET debits_pending = account.debits_pending - held.amount,
        debits_posted = account.debits_posted + held.charge
    FROM held WHERE account.id = held.debit_id
    RETURNING account.id
), resolution AS (
    INSERT INTO billing_transfer (debit_id, credit_id, amount, code, ref, kind, pending_id)
    SELECT debit_id, credit_id,
           CASE WHEN charge > 0 THEN charge ELSE amount END,
           CASE WHEN charge > 0 THEN 'charge' ELSE 'release' END,
           ref,
           CASE WHEN charge > 0 THEN 'post' ELSE 'void' END,
           id
    FROM held
)"""

# `in_force`: the parts (text of JSON) that an operator wants instead of the card's price of the
# model `{model}`, by the database's clock; no row, or null, where that is as the card says. One
# step in an index, however many changes there are.
PRICE_IN_FORCE = """
LEFT JOIN LATERAL (
    SELECT price::text FROM billing_pricechange
    WHERE model = {model} AND starts_at <= now() AND cancelled_at IS NULL
    ORDER BY starts_at DESC, id DESC
    LIMIT 1
) in_force ON true
"""

# Proves the ledger by itself, and against what it is about. Returns sentences: no row, ever.
BOOKS = """
SELECT 'account ' || account.id || ' differs from its transfers' AS problem
FROM billing_account account
LEFT JOIN LATERAL (
    SELECT COALESCE(SUM(amount) FILTER (WHERE kind IN ('single', 'post')), 0) AS posted,
           COALESCE(SUM(amount) FILTER (WHERE kind = 'pending' AND NOT EXISTS (
               SELECT 1 FROM billing_transfer resolution
               WHERE resolution.pending_id = debit.id)), 0) AS pending
    FROM billing_transfer debit WHERE debit.debit_id = account.id
) debits ON true
LEFT JOIN LATERAL (
    SELECT COALESCE(SUM(amount) FILTER (WHERE kind IN ('single', 'post')), 0) AS posted,
           COALESCE(SUM(amount) FILTER (WHERE kind = 'pending' AND NOT EXISTS (
               SELECT 1 FROM billing_transfer resolution
               WHERE resolution.pending_id = credit.id)), 0) AS pending
    FROM billing_transfer credit WHERE credit.credit_id = account.id
) credits ON true
WHERE account.owner_id IS NOT NULL
  AND (account.debits_posted, account.debits_pending, account.credits_posted,
       account.credits_pending)
      <> (debits.posted, debits.pending, credits.posted, credits.pending)
UNION ALL
SELECT 'transfer ' || resolution.id || ' does not match the hold it resolves'
FROM billing_transfer resolution JOIN billing_transfer pending
  ON pending.id = resolution.pending_id
WHERE pending.kind <> 'pending'
   OR (pending.debit_id, pending.credit_id) <> (resolution.debit_id, resolution.credit_id)
   OR resolution.amount > pending.amount
   OR (resolution.kind = 'void' AND resolution.amount <> pending.amount)
UNION ALL
SELECT 'transfer ' || resolution.id || ' resolves a hold that is gone'
FROM billing_transfer resolution LEFT JOIN billing_transfer pending
  ON pending.id = resolution.pending_id
WHERE resolution.pending_id IS NOT NULL AND pending.id IS NULL
UNION ALL
SELECT 'account ' || account.id || ' has spent more than it had'
FROM billing_account account
WHERE account.code = 'user'
  AND account.credits_posted < account.debits_posted + account.debits_pending
UNION ALL
SELECT 'account ' || account.id || ' is ' || CASE WHEN frozen THEN '' ELSE 'not ' END
       || 'frozen, and its freezes say otherwise'
FROM billing_account account
WHERE account.code = 'user' AND account.frozen <> EXISTS (
    SELECT 1 FROM billing_freeze reason
    WHERE reason.owner_id = account.owner_id AND reason.lifted_at IS NULL)
UNION ALL
SELECT 'purchase ' || purchase.id || ' is ' || purchase.state || ', of ' || purchase.amount
       || ', but ' || COALESCE(topup.amount, 0) || ' was credited'
FROM billing_purchase purchase LEFT JOIN billing_transfer topup
  ON topup.code = 'topup' AND topup.ref = purchase.id::text
WHERE COALESCE(topup.amount, 0)
      <> CASE WHEN purchase.state = 'paid' THEN purchase.amount ELSE 0 END
UNION ALL
SELECT 'transfer ' || transfer.id || ' credits a purchase to somebody else, or of nobody'
FROM billing_transfer transfer
JOIN billing_account account ON account.id = transfer.credit_id
LEFT JOIN billing_purchase purchase ON purchase.id::text = transfer.ref
WHERE transfer.code IN ('topup', 'bonus') AND purchase.owner_id IS DISTINCT FROM account.owner_id
UNION ALL
SELECT 'purchase ' || purchase.id || ' has a bonus of ' || purchase.bonus || ', '
       || CASE WHEN purchase.bonus_taken THEN 'taken back' ELSE 'not taken back' END
       || ', but ' || COALESCE(bonus.amount, 0) || ' was given and ' || COALESCE(moved.amount, 0)
       || ' taken back'
FROM billing_purchase purchase
LEFT JOIN billing_transfer bonus ON bonus.code = 'bonus' AND bonus.ref = purchase.id::text
LEFT JOIN (
    SELECT split_part(ref, ':', 1) AS purchase,
           SUM(CASE WHEN code = 'bonus_undone' THEN -amount ELSE amount END) AS amount
    FROM billing_transfer
    WHERE code IN ('bonus_taken', 'bonus_taken_debt', 'bonus_undone')
    GROUP BY 1
) moved ON moved.purchase = purchase.id::text
WHERE purchase.bonus <> COALESCE(bonus.amount, 0)
   OR COALESCE(moved.amount, 0) <> CASE WHEN purchase.bonus_taken THEN purchase.bonus ELSE 0 END
UNION ALL
SELECT reversal.kind || ' ' || reversal.id || ' of ' || reversal.amount || ' is in stage '
       || reversal.stage || ', but ' || COALESCE(booked.taken, 0) || ' was taken and '
       || COALESCE(booked.undone, 0) || ' given back'
FROM billing_reversal reversal LEFT JOIN (
    SELECT ref, SUM(amount) FILTER (WHERE right(code, 7) <> '_undone') AS taken,
           SUM(amount) FILTER (WHERE right(code, 7) = '_undone') AS undone
    FROM billing_transfer
    WHERE code IN ('refund', 'refund_debt', 'refund_undone',
                   'dispute', 'dispute_debt', 'dispute_undone')
    GROUP BY ref
) booked ON booked.ref = reversal.id::text
WHERE COALESCE(booked.taken, 0) NOT IN (0, reversal.amount)
   OR (reversal.stage = 1 AND COALESCE(booked.taken, 0) = 0)
   OR COALESCE(booked.undone, 0)
      <> CASE WHEN reversal.stage = 2 THEN COALESCE(booked.taken, 0) ELSE 0 END
   OR (reversal.stage = 0 AND booked.taken > 0)
UNION ALL
SELECT 'transfer ' || transfer.id || ' reverses nothing that we know'
FROM billing_transfer transfer LEFT JOIN billing_reversal reversal
  ON reversal.id::text = transfer.ref
WHERE transfer.code IN ('refund', 'refund_debt', 'refund_undone',
                        'dispute', 'dispute_debt', 'dispute_undone')
  AND reversal.id IS NULL
UNION ALL
SELECT 'purchase ' || purchase.id || ' was refunded more than was paid'
FROM billing_purchase purchase JOIN billing_reversal reversal
  ON reversal.purchase_id = purchase.id AND reversal.kind = 'refund' AND reversal.stage = 1
GROUP BY purchase.id HAVING SUM(reversal.amount) > purchase.amount
UNION ALL
SELECT 'code ' || code.id || ' says ' || code.uses || ' uses but the ledger ' || count(used.id)
FROM billing_redeemcode code LEFT JOIN billing_transfer used
  ON used.code = 'code' AND split_part(used.ref, ':', 1) = code.id::text
GROUP BY code.id HAVING code.uses <> count(used.id)
"""
