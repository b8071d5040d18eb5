"""The statements that move a job, one each for submit, claim, finish, cancel and renew.

They are SQL, not ORM, because each must be one atomic step (money and job together,
claim and fence together) and because they are most of what a request costs (hence the
casts, see modelpilot.prepared).
Rows are locked in the order key, job, account, budgets, transfer. Only a submit under a key
with a concurrency locks the key. Submit takes the account before the job, but its job is
new, so nobody can be waiting for it. Whoever ends a job locks account and usage in the
order that `conclude` has them in, which is the same for all; nobody else locks usage. An
owner's budgets are locked by whoever has that owner's account, so one at a time, and by the
mailer (see notices), which locks a single one and nothing else.
"""

from billing import sql as billing

# The first day (UTC) of the period of `period` ("day", "month") that it is now. Not now(): a
# submit may have waited for its account since its transaction began.
CURRENT = "date_trunc(period, statement_timestamp() AT TIME ZONE 'UTC')::date"
# What a budget says is spent in that period.
SPENT = f"CASE WHEN start >= {CURRENT} THEN spent ELSE 0 END"


def submission(*, budgeted: bool) -> str:
    """One job and its hold, or nothing. Answers (id, None); (None, "key" or "account") for
    whichever has as many jobs under way as it may; (None, None) when the money is short. A UNIQUE
    violation: the idempotency key is taken.

    Submits of one moment don't see each other's jobs, so an account may go over its bound by as
    many as there are connections; a key may not, as its row is locked before (see submit.admit).
    The fair tag is the larger of the model's virtual time (the lowest tag that waits) and one past
    the account's own last: start-time fair queueing (Goyal, Vin and Cheng, 1996), so nobody waits
    behind another account's hundred.

    An owner without budgets pays nothing for them: the UPDATE that holds the money also asks the
    account's flag. `budgeted` asks the budgets themselves in that same condition, and raises them;
    the account must be locked before, so that nothing of them changes meanwhile.
    """
    if budgeted:
        budgets = f"""applying AS (
    SELECT id, {CURRENT} AS current, {SPENT} + %(price)s::bigint > cap AS short
    FROM jobs_budget
    WHERE owner_id = %(owner)s::bigint AND (key_id IS NULL OR key_id = %(key)s::bigint)
), """
        admitted = "NOT EXISTS (SELECT 1 FROM applying WHERE short)"
        counted = "(SELECT array_agg(id) FROM applying)"
        raised = """, raised AS (
    UPDATE jobs_budget budget
    SET spent = CASE WHEN start >= current THEN spent ELSE 0 END + %(price)s::bigint,
        carried = CASE WHEN start >= current THEN carried ELSE 0 END,
        start = GREATEST(start, current)
    FROM applying, job WHERE budget.id = applying.id
)"""
    else:
        budgets, admitted, counted, raised = "", "NOT budgeted", "NULL", ""
    return f"""
WITH room AS (
    SELECT CASE
        WHEN %(concurrency)s::int IS NOT NULL AND %(concurrency)s::int <= (
            SELECT count(*) FROM (
                SELECT FROM jobs_job
                WHERE owner_id = %(owner)s::bigint AND key = %(key)s::bigint
                  AND state IN ('queued', 'running')
                LIMIT %(concurrency)s::int) of_key)
            THEN 'key'
        WHEN %(jobs_per_account)s::int <= (
            SELECT count(*) FROM (
                SELECT FROM jobs_job
                WHERE owner_id = %(owner)s::bigint AND state IN ('queued', 'running')
                LIMIT %(jobs_per_account)s::int) of_account)
            THEN 'account'
    END AS lacking
), {budgets}{billing.hold(f"(SELECT lacking FROM room) IS NULL AND {admitted}")}, job AS (
    INSERT INTO jobs_job (id, owner_id, key, permission, route, request_id, idempotency_key,
                          body_digest, kind, model, deployment, request, stream, watched,
                          uploads, state, fair_tag, attempt, deadline_at, cancel_at, price,
                          tariff, cost, hold_id, webhook, budgets)
    SELECT %(id)s::uuid, %(owner)s::bigint, %(key)s::bigint, %(permission)s::text,
           %(route)s::text, %(request_id)s::text, %(idempotency_key)s::text,
           %(body_digest)s::bytea, %(kind)s::text, %(model)s::text, %(deployment)s::text,
           %(request)s::jsonb, %(stream)s::boolean, %(watched)s::boolean,
           %(uploads)s::boolean, 'queued',
           GREATEST(
               COALESCE((SELECT min(fair_tag) FROM jobs_job
                         WHERE state = 'queued' AND model = %(model)s::text), 0),
               COALESCE((SELECT max(fair_tag) + 1 FROM jobs_job
                         WHERE state = 'queued' AND model = %(model)s::text
                           AND owner_id = %(owner)s::bigint), 0)),
           0, now() + make_interval(secs => %(deadline_s)s::float8),
           now() + make_interval(secs => %(cancel_after_s)s::float8), %(price)s::bigint,
           %(tariff)s::jsonb, 0, (SELECT id FROM hold), %(webhook)s::text,
           {counted}
    WHERE (SELECT lacking FROM room) IS NULL
      AND (({billing.ADMITTED_FREE}) OR EXISTS (SELECT 1 FROM hold))
    RETURNING id
){raised}
SELECT (SELECT id FROM job), (SELECT lacking FROM room)
"""


SUBMIT = submission(budgeted=False)
SUBMIT_BUDGETED = submission(budgeted=True)

# The next runnable jobs of a model become this pod's. SKIP LOCKED: pods never wait for
# each other's claims. The new attempt is the fence. A job that has lost a pod may be what killed
# it, and must not take the same ones with it each time: of those that were tried once a pod has
# `company` at a time, and of those in their last attempt a single one.
CLAIM = """
WITH here AS (
    SELECT count(*) FILTER (WHERE attempt < %(last_attempt)s::int) AS again,
           count(*) FILTER (WHERE attempt >= %(last_attempt)s::int) AS last
    FROM jobs_job
    WHERE state = 'running' AND pod = %(pod)s::uuid AND attempt > 1
), tried AS (
    (SELECT id FROM jobs_job
     WHERE state = 'queued' AND attempt > 0 AND model = %(model)s::text
       AND attempt < %(last_attempt)s::int - 1
     ORDER BY fair_tag, id
     LIMIT (SELECT GREATEST(0, %(company)s::int - again) FROM here))
    UNION ALL
    (SELECT id FROM jobs_job
     WHERE state = 'queued' AND attempt > 0 AND model = %(model)s::text
       AND attempt >= %(last_attempt)s::int - 1
     ORDER BY fair_tag, id
     LIMIT (SELECT GREATEST(0, 1 - last) FROM here))
)
UPDATE jobs_job
SET state = 'running', attempt = attempt + 1, pod = %(pod)s::uuid, started_at = now(),
    lease_until = now() + make_interval(secs => %(lease_s)s::float8)
WHERE id IN (
    SELECT id FROM jobs_job
    WHERE state = 'queued' AND model = %(model)s::text
      AND (attempt = 0 OR id IN (SELECT id FROM tried))
    ORDER BY fair_tag, id
    LIMIT %(limit)s::bigint
    FOR UPDATE SKIP LOCKED)
RETURNING id, attempt, kind, request, price, stream, watched, request_id, created_at,
          EXTRACT(EPOCH FROM deadline_at - now()), owner_id,
          EXTRACT(EPOCH FROM now() - created_at), EXTRACT(EPOCH FROM cancel_at - now()), tariff
"""

# Prolongs the leases of this pod's jobs. A job that is missing from the answer is no
# longer ours. The database's clock decides, so pods' clocks may differ.
RENEW = """
UPDATE jobs_job SET lease_until = now() + make_interval(secs => %(lease_s)s::float8)
FROM unnest(%(ids)s::uuid[], %(attempts)s::int[]) AS mine (id, attempt)
WHERE jobs_job.id = mine.id AND jobs_job.attempt = mine.attempt AND state = 'running'
RETURNING jobs_job.id, jobs_job.attempt, cancel_requested_at IS NOT NULL
"""


def conclude(condition: str) -> str:
    """The statement that ends a job, settles its hold, gives the rest of it back to the budgets,
    counts its usage, stores its outputs and posts its webhooks, if `condition`."""
    return f"""
WITH done AS (
    UPDATE jobs_job
    SET state = %(state)s::text, finished_at = now(), lease_until = NULL,
        cost = LEAST(%(charge)s::bigint, price),
        result = %(result)s::jsonb, error = %(error)s::jsonb
    WHERE id = %(id)s::uuid AND {condition}
    RETURNING id, hold_id, attempt, cost AS charge, owner_id, key, model, state, webhook, budgets,
              created_at
), ran AS (
    SELECT CASE WHEN before.state = 'running'
                THEN EXTRACT(EPOCH FROM now() - before.started_at) END AS seconds
    FROM done JOIN jobs_job before ON before.id = done.id
), outputs AS (
    INSERT INTO jobs_output (id, job_id, name, media_type, bytes, path)
    SELECT output.id, done.id, output.name, output.media_type, output.bytes, output.path
    FROM done, jsonb_to_recordset(%(outputs)s::jsonb)
         AS output (id uuid, name text, media_type text, bytes bigint, path text)
), deliveries AS (
    INSERT INTO jobs_webhookdelivery (id, owner_id, job_id, endpoint_id, url, event, state,
                                      attempts, log)
    SELECT gen_random_uuid(), done.owner_id, done.id, target.endpoint, target.url,
           'job.' || done.state, 'pending', 0, '[]'
    FROM done CROSS JOIN LATERAL (
        SELECT endpoint.id AS endpoint, endpoint.url FROM jobs_webhookendpoint endpoint
        WHERE endpoint.owner_id = done.owner_id AND endpoint.enabled
        UNION ALL
        SELECT NULL, done.webhook WHERE done.webhook IS NOT NULL
    ) target
), usage AS (
    INSERT INTO jobs_usage AS so_far (owner_id, day, key, model, requests, succeeded, failed,
                                      cost, tokens_in, tokens_out, seconds)
    SELECT done.owner_id, (now() AT TIME ZONE 'UTC')::date, done.key, done.model, 1,
           (done.state = 'succeeded')::int, (done.state = 'failed')::int,
           done.charge, %(tokens_in)s::bigint, %(tokens_out)s::bigint, COALESCE(ran.seconds, 0)
    FROM done CROSS JOIN ran
    ON CONFLICT (owner_id, day, key, model) DO UPDATE
    SET requests = so_far.requests + 1,
        succeeded = so_far.succeeded + excluded.succeeded,
        failed = so_far.failed + excluded.failed,
        cost = so_far.cost + excluded.cost,
        tokens_in = so_far.tokens_in + excluded.tokens_in,
        tokens_out = so_far.tokens_out + excluded.tokens_out,
        seconds = so_far.seconds + excluded.seconds
), {billing.SETTLE}, returned AS (
    UPDATE jobs_budget budget SET spent = budget.spent - (held.amount - held.charge)
    -- Of `counters`, so that the account is locked first.
    FROM done CROSS JOIN held CROSS JOIN counters
    WHERE budget.id = ANY(done.budgets)
      AND budget.start = date_trunc(budget.period, done.created_at AT TIME ZONE 'UTC')::date
)
SELECT done.attempt, done.charge, before.owner_id, before.model, before.request_id,
       EXTRACT(EPOCH FROM COALESCE(before.started_at, now()) - before.created_at), ran.seconds
FROM done JOIN jobs_job before ON before.id = done.id CROSS JOIN ran
"""


# The pod's own finish: only while this attempt is still the running one.
FINISH = conclude("state = 'running' AND attempt = %(attempt)s::int")
# The rescuer's: only if the lease is still over at this moment.
GIVE_UP = conclude("state = 'running' AND attempt = %(attempt)s::int AND lease_until < now()")
# For a job that never ran.
DROP = conclude("state = 'queued'")

REQUEUE = """
UPDATE jobs_job SET state = 'queued', lease_until = NULL, pod = NULL
WHERE id = %(id)s::uuid AND state = 'running' AND attempt = %(attempt)s::int AND lease_until < now()
RETURNING attempt
"""

REQUEST_CANCEL = """
UPDATE jobs_job SET cancel_requested_at = COALESCE(cancel_requested_at, now())
WHERE id = %(id)s::uuid AND state = 'running'
RETURNING pod
"""

# The next webhooks to send become this process's. An account has a few of them under way at
# most, so that slow receivers of one can't hold up another's. The due ones are asked for
# again where they are locked: somebody else may have taken them in between.
CLAIM_WEBHOOKS = """
UPDATE jobs_webhookdelivery
SET attempts = attempts + 1, lease_until = now() + make_interval(secs => %(lease_s)s::float8)
WHERE id IN (
    SELECT delivery.id FROM jobs_webhookdelivery delivery
    JOIN (SELECT id, row_number() OVER (PARTITION BY owner_id ORDER BY next_try_at) AS place
          FROM jobs_webhookdelivery
          WHERE state = 'pending' AND next_try_at <= now()
            AND (lease_until IS NULL OR lease_until < now())) due USING (id)
    WHERE due.place <= %(each)s::int AND delivery.state = 'pending'
      AND (delivery.lease_until IS NULL OR delivery.lease_until < now())
    ORDER BY due.place, delivery.next_try_at
    LIMIT %(limit)s::bigint
    FOR UPDATE OF delivery SKIP LOCKED)
RETURNING id, lease_until
"""

# The part of the books that concerns jobs (see billing.sql.BOOKS): money is held for
# exactly the live jobs that cost something, as much as their rows say and of their owners' own; a
# finished one was charged what its row says; every stored output carries the attempt that the row
# ended with; usage says of each day, model and key what its jobs cost, and in all what an account
# was charged; and a budget what its jobs of the period cost and hold.
BOOKS = """
SELECT 'job ' || job.id || ' is ' || job.state || ' but its hold is '
       || CASE WHEN resolution.id IS NULL THEN 'open' ELSE 'resolved' END
FROM jobs_job job LEFT JOIN billing_transfer resolution ON resolution.pending_id = job.hold_id
WHERE job.hold_id IS NOT NULL
  AND (job.state IN ('queued', 'running')) = (resolution.id IS NOT NULL)
UNION ALL
SELECT 'job ' || job.id || ' costs ' || job.price || ' at most, but '
       || CASE WHEN hold.id IS NULL THEN 'holds nothing'
               ELSE 'transfer ' || hold.id || ' holds ' || hold.amount || ' of account '
                    || account.id || ' for ' || hold.ref END
FROM jobs_job job
LEFT JOIN billing_transfer hold ON hold.id = job.hold_id
LEFT JOIN billing_account account ON account.id = hold.debit_id
WHERE job.price <> COALESCE(hold.amount, 0)
   OR (hold.id IS NOT NULL
       AND (hold.code, hold.ref, account.code, account.owner_id)
           IS DISTINCT FROM ('hold', job.id::text, 'user', job.owner_id))
UNION ALL
SELECT 'job ' || job.id || ' says it cost ' || job.cost || ' but the ledger says '
       || COALESCE(charge.amount, 0)
FROM jobs_job job LEFT JOIN billing_transfer charge
  ON charge.pending_id = job.hold_id AND charge.kind = 'post'
WHERE job.cost <> COALESCE(charge.amount, 0)
UNION ALL
SELECT 'hold ' || hold.id || ' belongs to no job'
FROM billing_transfer hold LEFT JOIN jobs_job job ON job.hold_id = hold.id
WHERE hold.code = 'hold' AND job.id IS NULL
UNION ALL
SELECT 'output ' || output.id || ' is not of the attempt that its job ended with'
FROM jobs_output output JOIN jobs_job job ON job.id = output.job_id
WHERE output.path NOT LIKE job.id || '/' || job.attempt || '/%'
UNION ALL
SELECT 'usage of user ' || COALESCE(used.owner_id, charged.owner_id) || ' sums to '
       || COALESCE(used.cost, 0) || ' but the ledger charged ' || COALESCE(charged.amount, 0)
FROM (SELECT owner_id, SUM(cost) AS cost FROM jobs_usage GROUP BY owner_id) used
FULL JOIN (
    SELECT account.owner_id, SUM(charge.amount) AS amount
    FROM billing_transfer charge JOIN billing_account account ON account.id = charge.debit_id
    WHERE charge.code = 'charge'
    GROUP BY account.owner_id) charged ON charged.owner_id = used.owner_id
WHERE COALESCE(used.cost, 0) <> COALESCE(charged.amount, 0)
UNION ALL
SELECT 'usage of user ' || COALESCE(used.owner_id, ended.owner_id) || ' on '
       || COALESCE(used.day, ended.day) || ' says that ' || COALESCE(used.requests, 0)
       || ' requests to ' || COALESCE(used.model, ended.model) || ' cost '
       || COALESCE(used.cost, 0) || ', but ' || COALESCE(ended.requests, 0) || ' jobs cost '
       || COALESCE(ended.cost, 0)
FROM jobs_usage used FULL JOIN (
    SELECT owner_id, (finished_at AT TIME ZONE 'UTC')::date AS day, key, model,
           count(*) AS requests, SUM(cost) AS cost
    FROM jobs_job WHERE state NOT IN ('queued', 'running')
    GROUP BY 1, 2, 3, 4) ended
  ON (ended.owner_id, ended.day, ended.model, COALESCE(ended.key, 0))
     = (used.owner_id, used.day, used.model, COALESCE(used.key, 0))
WHERE (COALESCE(used.requests, 0), COALESCE(used.cost, 0))
      <> (COALESCE(ended.requests, 0), COALESCE(ended.cost, 0))
UNION ALL
SELECT 'budget ' || budget.id || ' says that ' || budget.spent || ' is spent since '
       || budget.start || ', but its jobs come to ' || COALESCE(counted.amount, 0)
FROM jobs_budget budget LEFT JOIN (
    SELECT budget.id, SUM(CASE WHEN job.state IN ('queued', 'running') THEN job.price
                               ELSE job.cost END) AS amount
    FROM jobs_job job JOIN jobs_budget budget ON budget.id = ANY(job.budgets)
    WHERE budget.start = date_trunc(budget.period, job.created_at AT TIME ZONE 'UTC')::date
    GROUP BY budget.id) counted ON counted.id = budget.id
WHERE budget.spent <> budget.carried + COALESCE(counted.amount, 0)
UNION ALL
SELECT 'account ' || account.id || ' is ' || CASE WHEN budgeted THEN '' ELSE 'not ' END
       || 'marked as budgeted, and its budgets say otherwise'
FROM billing_account account
WHERE account.code = 'user' AND account.budgeted <> EXISTS (
    SELECT 1 FROM jobs_budget budget WHERE budget.owner_id = account.owner_id)
"""
