"""How long a job will take from here, by what was measured: room, load, queue and run."""

from dataclasses import dataclass

from django.utils import timezone

from modelpilot.fleet.facts import Facts
from modelpilot.fleet.models import Pod
from modelpilot.fleet.pieces import DeploymentFacts
from modelpilot.fleet.plan import starts_in
from modelpilot.fleet.turns import LONGEST_S

# From the decision that a pod goes until its memory is free, and half a look of the node.
# Measured with idle pods of smollm2-135m and piper-joe: 1.0 to 1.6 s together.
GOING_S = 1.3
LOOKING_S = 0.25
# A load or run that is late is thought to need this much of its usual time still.
LATE = 0.1


@dataclass(frozen=True, slots=True)
class Outlook:
    """`ready_s`: until a pod is there, 0 if one is. Then `slots` jobs at a time, of which
    `busy` are taken now, for `run_s` each."""

    ready_s: float
    slots: int
    busy: int
    run_s: float

    def seconds(self, place: int) -> float:
        """Until the job in that place of the queue (1 is next) has ended."""
        ahead = max(0, place - (self.slots - self.busy))
        return self.ready_s + self.run_s * (1 + ahead / self.slots)


def outlook(deployment_id: str, now: Facts) -> Outlook | None:
    """For the next jobs of a deployment; None for one that is not served."""
    wish = next((wish for wish in now.deployments if wish.id == deployment_id), None)
    if wish is None or not wish.wanted:
        return None
    pods = [pod for pod in now.pods if pod.deployment == wish.id and not pod.draining]
    ready = [pod for pod in pods if not pod.loading]
    if ready:
        total = sum(pod.slots for pod in ready)
        return Outlook(0.0, max(1, total), sum(pod.busy for pod in ready), wish.run_seconds)
    if pods:
        rows = Pod.objects.filter(id__in=[pod.id for pod in pods])
        ready_s = min((loads_in(row, wish.load_seconds) for row in rows), default=0.0)
    else:
        ready_s = room_in(now, wish) + LOOKING_S + wish.load_seconds
    return Outlook(ready_s, wish.slots, 0, wish.run_seconds)


def room_in(now: Facts, wish: DeploymentFacts) -> float:
    """Seconds until a pod may start; if nobody can tell, as long as patience lasts."""
    found = starts_in(*now.args, wish.id)
    if found is None:
        return LONGEST_S
    seconds, others_go = found
    return seconds + GOING_S * others_go


def loads_in(pod: Pod, load_s: float) -> float:
    """What is left of a pod's load, and of its download before."""
    age = (timezone.now() - pod.created_at).total_seconds()
    if pod.phase == Pod.Phase.DOWNLOADING and pod.progress:
        return age * (1 - pod.progress) / pod.progress + load_s
    return max(load_s - age, load_s * LATE)
