"""The hot statements of the ledger, as parts that `jobs.sql` puts into its own.

The same admission through the ORM costs six times the time and fifteen times the CPU,
and a hold must be in one transaction with the job that it pays for.
"""


def hold(condition: str) -> str:
    """Sets `price` aside for `ref`, if `condition`: `hold` has one row, or none when the money
    is short. The conditional UPDATE is the admission: two requests can't both see the last
    dollar."""
    return f"""
funds AS (
    UPDATE billing_account SET debits_pending = debits_pending + %(price)s::bigint
    WHERE owner_id = %(owner)s::bigint AND code = 'user' AND %(price)s::bigint > 0
      AND credits_posted - debits_posted - debits_pending >= %(price)s::bigint
      AND {condition}
    RETURNING id
), hold AS (
    INSERT INTO billing_transfer (debit_id, credit_id, amount, code, ref, kind)
    SELECT funds.id, revenue.id, %(price)s::bigint, 'hold', %(ref)s::text, 'pending'
    FROM funds, billing_account revenue
    WHERE revenue.code = 'revenue' AND revenue.owner_id IS NULL
    RETURNING id
)"""


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

# Proves the ledger by itself. Returns (problem, object): no row, ever.
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
WHERE account.code = 'user'
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
SELECT 'account ' || account.id || ' has spent more than it had'
FROM billing_account account
WHERE account.code = 'user'
  AND account.credits_posted < account.debits_posted + account.debits_pending
"""
