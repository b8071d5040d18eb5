"""The fleet as the plan sees it while it decides: who sits where, who goes, and what is free.

Memory is counted twice. `free` is what a start may take now. `coming` is what will be free
once all that stops has gone, less what is meant for somebody: whoever waits for a pod to
drain has its room kept, and nobody slips in between.
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from modelpilot.fleet.pieces import DeploymentFacts, DeviceFacts, Place, PodFacts, Start, Stop


class Board:
    """The facts, and what this plan has already decided about them."""

    def __init__(
        self,
        devices: Sequence[DeviceFacts],
        deployments: Sequence[DeploymentFacts],
        pods: Sequence[PodFacts],
        now: datetime,
    ) -> None:
        self.now = now
        self.devices = sorted(devices, key=lambda device: device.place)
        self.wishes = {deployment.id: deployment for deployment in deployments}
        self.pods = sorted(pods, key=lambda pod: (pod.active_at, pod.id))
        self.free = {device.place: device.memory_mb for device in devices}
        self.coming = dict(self.free)
        self.stopping: set[uuid.UUID] = set()
        # Pods that stay, of each deployment, with those that this plan starts.
        self.copies: Counter[str] = Counter()
        for pod in self.pods:
            for place in self.known(pod.places):
                self.free[place] -= pod.memory_mb
                self.coming[place] -= pod.memory_mb
            if pod.draining:
                self.leave(pod)
            else:
                self.copies[pod.deployment] += 1

    def known(self, places: Iterable[Place]) -> list[Place]:
        """Those whose devices are still there."""
        return [place for place in places if place in self.free]

    # Stopping

    def leave(self, pod: PodFacts) -> None:
        """What a stopping pod holds is not free before it has gone, but it will be."""
        self.stopping.add(pod.id)
        for place in self.known(pod.places):
            self.coming[place] += pod.memory_mb

    def stop(self, pod: PodFacts, reason: str) -> Stop:
        self.leave(pod)
        self.copies[pod.deployment] -= 1
        return Stop(pod.id, reason)

    def unwanted(self) -> Iterable[Stop]:
        """Pods of stopped deployments, pods beyond `replicas`, and those idle for too long."""
        for pod in self.by_use():
            if pod.draining:
                continue
            deployment = self.wishes.get(pod.deployment)
            if deployment is None or not deployment.wanted:
                yield self.stop(pod, "its deployment is stopped")
            elif pod.loading:
                continue
            elif self.copies[pod.deployment] > max(1, deployment.replicas):
                yield self.stop(pod, f"more than {deployment.replicas} of it")
            elif self.idle(pod) and not self.kept(pod) and self.rested(pod, deployment):
                yield self.stop(pod, f"idle for {deployment.idle_seconds} s")

    def rested(self, pod: PodFacts, deployment: DeploymentFacts) -> bool:
        return self.now - pod.active_at > timedelta(seconds=deployment.idle_seconds)

    def by_use(self) -> list[PodFacts]:
        """Idle ones first, then the least recently used."""
        return sorted(self.pods, key=lambda pod: pod.busy > 0)

    def idle(self, pod: PodFacts) -> bool:
        """It has nothing to do, and nothing waits for it."""
        deployment = self.wishes.get(pod.deployment)
        waited_for = deployment is not None and deployment.waiting > 0
        return not (pod.busy or pod.loading or waited_for)

    def kept(self, pod: PodFacts, leaving: Iterable[PodFacts] = ()) -> bool:
        """Whether it is the last of a pinned deployment, once `leaving` have left."""
        deployment = self.wishes.get(pod.deployment)
        going = sum(other.deployment == pod.deployment for other in leaving)
        pinned = deployment is not None and deployment.pinned
        return pinned and self.copies[pod.deployment] - going <= 1

    # Starting

    def without_pod(self) -> list[DeploymentFacts]:
        """Deployments that need their first pod: pinned ones, then by how long they wait."""
        needing = [
            deployment
            for deployment in self.wishes.values()
            if self.may_start(deployment)
            and (deployment.waiting > 0 or deployment.pinned)
            and not self.copies[deployment.id]
        ]
        return sorted(needing, key=lambda wish: (not wish.pinned, -wish.waited_s, wish.id))

    def worth_another(self) -> list[DeploymentFacts]:
        """Deployments whose queue would take longer than one more copy takes to load."""
        return [
            deployment
            for deployment in sorted(self.wishes.values(), key=lambda wish: wish.id)
            if self.may_start(deployment)
            and 0 < self.copies[deployment.id] < deployment.replicas
            and self.queue_seconds(deployment) > deployment.load_seconds
        ]

    def may_start(self, deployment: DeploymentFacts) -> bool:
        return deployment.wanted and not (deployment.retry_at and deployment.retry_at > self.now)

    def queue_seconds(self, deployment: DeploymentFacts) -> float:
        """How long its ready pods will need until its queue is empty; 0 while one loads."""
        mine = [
            pod
            for pod in self.pods
            if pod.deployment == deployment.id and pod.id not in self.stopping
        ]
        slots = sum(pod.slots for pod in mine)
        queued = deployment.waiting - (slots - sum(pod.busy for pod in mine))
        if any(pod.loading for pod in mine) or queued <= 0 or slots <= 0:
            return 0.0
        return queued / slots * deployment.run_seconds

    def suited(self, deployment: DeploymentFacts) -> list[list[DeviceFacts]]:
        """Of each node the devices on which a pod of it, or its part, fits when they are empty."""
        able = [
            device
            for device in self.devices
            if device.kind == deployment.device
            and device.memory_mb >= deployment.memory_mb
            and (device.whole or deployment.devices == 1)
        ]
        by_node = [list(devices) for _, devices in groupby(able, lambda device: device.node)]
        return [devices for devices in by_node if len(devices) >= deployment.devices]

    def roomiest(self, deployment: DeploymentFacts) -> tuple[Place, ...] | None:
        """The devices with the most free memory, where there is enough, best ones without a copy.

        The most, not the least that is enough: that spreads work over GPUs, which share
        nothing. What is cut up too much comes together again by eviction.
        """
        mine = {
            place for pod in self.pods if pod.deployment == deployment.id for place in pod.places
        }

        def rank(place: Place) -> tuple[bool, int, Place]:
            return place not in mine, self.free[place], place

        best = []
        for devices in self.suited(deployment):
            fitting = [each.place for each in devices if self.fits(deployment, each.place)]
            chosen = sorted(fitting, key=rank, reverse=True)[: deployment.devices]
            if len(chosen) == deployment.devices:
                best.append(tuple(chosen))
        return max(best, key=lambda places: rank(places[-1]), default=None)

    def fits(self, deployment: DeploymentFacts, place: Place) -> bool:
        return min(self.free[place], self.coming[place]) >= deployment.memory_mb

    def start(self, deployment: DeploymentFacts, places: Iterable[Place]) -> Start:
        places = sorted(places)
        for place in places:
            self.free[place] -= deployment.memory_mb
            self.coming[place] -= deployment.memory_mb
        self.copies[deployment.id] += 1
        devices = tuple(device for _, device in places)
        return Start(deployment.id, places[0][0], devices, deployment.engine)

    # Times

    def load_seconds(self, pod: PodFacts) -> float:
        deployment = self.wishes.get(pod.deployment)
        return deployment.load_seconds if deployment else 0.0

    def run_seconds(self, pod: PodFacts) -> float:
        deployment = self.wishes.get(pod.deployment)
        return deployment.run_seconds if deployment else 0.0
