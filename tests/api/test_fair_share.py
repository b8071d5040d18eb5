"""One pod is shared: a hundred requests of one account delay another's by one turn at most."""

from tests.api.conftest import NewCaller

LATER = {"Prefer": "respond-async"}
SLOTS = 4
MANY = 100
# A second of the pod's.
TOKENS = 20


def test_a_single_request_waits_for_one_turn_of_another_accounts_hundred(
    newcomer: NewCaller,
) -> None:
    dora, emil = newcomer(), newcomer()
    many = [
        dora.chat("fair", "echo-four", max_tokens=TOKENS, headers=LATER).json()["id"]
        for _ in range(MANY)
    ]
    one = emil.chat("fair", "echo-four", max_tokens=TOKENS, headers=LATER).json()["id"]
    single = emil.ended(one)
    jobs = [dora.job(job) for job in many]
    waiting = [job for job in jobs if job["state"] == "queued"]
    assert len(waiting) > MANY / 2, "the hundred were served too fast to be in anybody's way"
    begun = [job["started_at"] for job in jobs if job["started_at"]]
    overtook = [at for at in begun if single["created_at"] < at < single["started_at"]]
    assert len(overtook) <= SLOTS
    for job in waiting:
        dora.post(f"jobs/{job['id']}/cancel")
