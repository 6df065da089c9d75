"""The operators of a cluster: what they make of a PyTorchJob, a JobSet or a TrainJob, and when they take it for done.

After Kubeflow's training-operator v1, JobSet, Kubeflow Trainer v2 and Kubernetes' own Job controller, in as much as
`motley export kubernetes` counts on them. `sync` is called after each change, as the kubelet's.
"""

from __future__ import annotations

import uuid
from typing import Any

from tests.kubernetes.api import events
from tests.kubernetes.api.api_errors import ApiError
from tests.kubernetes.api.nodes.pod_states import condition, exit_code
from tests.kubernetes.api.operators import job_pods
from tests.kubernetes.api.operators.job_pods import Wanted
from tests.kubernetes.api.resources import BY_PLURAL, PODS
from tests.kubernetes.api.settings import Settings
from tests.kubernetes.api.store import Store, is_owned_by, now, owner_of
from tests.kubernetes.api.verbs import FOREGROUND, Verbs

Object = dict[str, Any]
RETRYABLE = 128  # exit codes of a pod from which on a PyTorchJob with `ExitCode` makes another
DONE = ("Succeeded", "Failed", "Completed", "Complete")


class Operators:
    def __init__(self, store: Store, settings: Settings, verbs: Verbs) -> None:
        self._store, self._settings, self._verbs = store, settings, verbs

    def sync(self) -> None:
        self._collect_garbage()
        for job in self._store.list("trainjobs"):
            if _is_active(job):
                self._trainjob(job)
        for job in self._store.list("pytorchjobs"):
            if _is_active(job):
                self._pytorchjob(job)
        for jobset in self._store.list("jobsets"):
            if _is_active(jobset):
                self._jobset(jobset)

    def _collect_garbage(self) -> None:
        """What belongs to nothing any more is deleted; what waits for that is removed when it has."""
        uids = {table["metadata"]["uid"] for plural in BY_PLURAL for table in self._store.list(plural)}
        for resource in BY_PLURAL.values():
            for table in self._store.list(resource.plural):
                metadata = table["metadata"]
                owners = metadata.get("ownerReferences", ())
                parents = [self._owner(metadata["namespace"], one) for one in owners]
                being_deleted = any(
                    parent and FOREGROUND in parent["metadata"].get("finalizers", ()) for parent in parents
                )
                if (
                    owners
                    and ("deletionTimestamp" not in metadata)
                    and (being_deleted or not any(one["uid"] in uids for one in owners))
                ):
                    self._remove(table)
                if FOREGROUND in metadata.get("finalizers", ()) and not self._children(table):
                    self._store.remove(resource.plural, metadata.get("namespace", ""), metadata["name"])

    def _owner(self, namespace: str, reference: Object) -> Object | None:
        plural = next(one.plural for one in BY_PLURAL.values() if one.kind == reference["kind"])
        return self._store.find(plural, namespace, reference["name"])

    def _children(self, owner: Object) -> list[Object]:
        return [t for plural in BY_PLURAL for t in self._store.list(plural) if is_owned_by(t, owner)]

    def _pods_of(self, owner: Object) -> list[Object]:
        namespace = owner["metadata"]["namespace"]
        return [pod for pod in self._store.list("pods", namespace) if is_owned_by(pod, owner)]

    def _pytorchjob(self, job: Object) -> None:
        wanted = job_pods.of_pytorchjob(job)
        for one in wanted:
            self._service(job, one.name, one.place)
        pods = self._made(job, wanted)
        for pod in pods.values():
            code = exit_code(pod)
            if pod["status"]["phase"] == "Failed" and not self._is_left(pod):
                if (code or RETRYABLE) < RETRYABLE:
                    kind = pod["metadata"]["labels"][job_pods.REPLICA_TYPE].capitalize()
                    said = f"PyTorchJob {job['metadata']['name']} is failed because 1 {kind} replica(s) failed."
                    self._finish(job, "Failed", "PyTorchJobFailed", said, clean=True)
                    return
                self._remove(pod)
        master = pods.get(wanted[0].name)
        if master is not None and master["status"]["phase"] == "Succeeded":
            said = f"PyTorchJob {job['metadata']['name']} is successfully completed."
            self._finish(job, "Succeeded", "PyTorchJobSucceeded", said, clean=True)
            return
        self._say_running(job, "Running", [pods.get(one.name) for one in wanted], "PyTorchJobRunning")

    def _trainjob(self, job: Object) -> None:
        """It becomes a JobSet of the runtime, of the same name."""
        metadata = job["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        jobset = self._store.find("jobsets", namespace, name)
        if jobset is None:
            runtime = self._store.find("trainingruntimes", namespace, job["spec"]["runtimeRef"]["name"])
            if runtime is not None:
                made = {"name": name, "labels": metadata.get("labels", {}), "ownerReferences": [owner_of(job)]}
                spec = runtime["spec"]["template"]["spec"]
                self._store.create(BY_PLURAL["jobsets"], namespace, {"metadata": made, "spec": spec})
            return
        for kind, meaning in (("Completed", "Complete"), ("Failed", "Failed")):
            if _holds(jobset, kind):
                self._finish(job, meaning, f"JobSet{kind}", f"jobset {name} is {kind.lower()}", clean=False)

    def _jobset(self, jobset: Object) -> None:
        metadata, spec = jobset["metadata"], jobset["spec"]
        network = spec.get("network", {})
        if network.get("enableDNSHostnames", True):
            selected = {job_pods.JOBSET_NAME: metadata["name"]}
            published = network.get("publishNotReadyAddresses", True)
            self._service(jobset, network.get("subdomain", metadata["name"]), selected, published=published)
        states = {}
        for replicated in spec["replicatedJobs"]:
            for index in range(replicated.get("replicas", 1)):
                job = self._job_of(jobset, replicated, index)
                self._job(job)
                job = self._store.find("jobs", metadata["namespace"], job["metadata"]["name"]) or job
                states[replicated["name"], index] = job
        failed = [job for job in states.values() if _holds(job, "Failed")]
        targets = spec.get("successPolicy", {}).get("targetReplicatedJobs") or [
            one["name"] for one in spec["replicatedJobs"]
        ]
        mine = [job for (name, _), job in states.items() if name in targets]
        if failed:
            said = f"jobset failed due to one or more job failures (job {failed[0]['metadata']['name']})"
            self._finish(jobset, "Failed", "FailedJobs", said, clean=True)
        elif all(_holds(job, "Complete") for job in mine):
            said = "jobset completed successfully"
            self._finish(jobset, "Completed", "AllJobsCompleted", said, clean=True)

    def _job_of(self, jobset: Object, replicated: Object, index: int) -> Object:
        table = job_pods.job_of(jobset, replicated, index)
        found = self._store.find("jobs", jobset["metadata"]["namespace"], table["metadata"]["name"])
        return found or self._store.create(BY_PLURAL["jobs"], jobset["metadata"]["namespace"], table)

    def _job(self, job: Object) -> None:
        """An indexed Job: one pod for each index; what failed is made anew, by its policy."""
        if not _is_active(job):
            return
        spec, finished = job["spec"], set()
        for index in range(spec.get("completions", 1)):
            mine = [pod for pod in self._pods_of(job) if job_pods.index_of(pod) == index]
            if any(pod["status"]["phase"] == "Succeeded" for pod in mine):
                finished.add(index)
                continue
            if any(pod["status"]["phase"] != "Failed" or self._is_left(pod) for pod in mine):
                continue
            if mine and (why := _fails_job(job, mine[-1])):
                self._finish(job, "Failed", "PodFailurePolicy", why, clean=True)
                return
            counted = [
                pod for pod in self._pods_of(job) if pod["status"]["phase"] == "Failed" and not _is_disrupted(pod)
            ]
            if len(counted) > spec.get("backoffLimit", 6):
                said = "Job has reached the specified backoff limit"
                self._finish(job, "Failed", "BackoffLimitExceeded", said, clean=True)
                return
            self._made(job, [job_pods.of_job(job, index, uuid.uuid4().hex[:5])])
        if len(finished) == spec.get("completions", 1):
            self._finish(
                job, "Complete", "CompletionsReached", "Reached expected number of succeeded pods", clean=False
            )

    def _made(self, owner: Object, wanted: list[Wanted]) -> dict[str, Object]:
        """Those that are there, by name; those that are not are made now."""
        namespace = owner["metadata"]["namespace"]
        found = {}
        for one in wanted:
            pod = self._store.find("pods", namespace, one.name)
            if pod is None:
                table = {"metadata": one.metadata(owner), "spec": one.spec, "status": {"phase": "Pending"}}
                try:
                    self._verbs.check_quota(PODS, namespace, one.name)
                except ApiError as error:
                    reason = "FailedCreatePod" if owner["kind"] == "PyTorchJob" else "FailedCreate"
                    events.tell(self._store, owner, reason, f"Error creating: {error.message}", source="operator")
                    continue
                pod = self._store.create(PODS, namespace, table)
            if is_owned_by(pod, owner):
                found[one.name] = pod
        return found

    def _service(self, owner: Object, name: str, selector: dict[str, str], *, published: bool = False) -> None:
        """A headless one; `published`: also of pods that are not ready."""
        namespace = owner["metadata"]["namespace"]
        if self._store.find("services", namespace, name) is None:
            metadata = {"name": name, "ownerReferences": [owner_of(owner)]}
            spec = {"clusterIP": "None", "selector": selector, "publishNotReadyAddresses": published}
            self._store.create(BY_PLURAL["services"], namespace, {"metadata": metadata, "spec": spec})

    def _finish(self, job: Object, kind: str, reason: str, said: str, *, clean: bool) -> None:
        """With `clean`, what still runs of it is removed."""

        def change(table: Object) -> None:
            if kind in ("Succeeded", "Failed"):
                condition(table, "Running", "False", reason, said)
            condition(table, kind, "True", reason, said)
            table["status"]["completionTime"] = now()

        plural = next(one.plural for one in BY_PLURAL.values() if one.kind == job["kind"])
        self._store.update(plural, job["metadata"]["namespace"], job["metadata"]["name"], change)
        for child in self._children(job) if clean else ():
            if (child["kind"] == "Pod" and child["status"]["phase"] not in ("Succeeded", "Failed")) or (
                child["kind"] == "Job" and _is_active(child)
            ):
                self._remove(child)

    def _remove(self, table: Object) -> None:
        resource = next(one for one in BY_PLURAL.values() if one.kind == table["kind"])
        metadata = table["metadata"]
        if "deletionTimestamp" not in metadata:
            self._verbs.delete_one(resource, metadata.get("namespace", ""), metadata["name"], {})

    def _say_running(self, job: Object, kind: str, pods: list[Object | None], reason: str) -> None:
        name, metadata = f"{job['kind']} {job['metadata']['name']}", job["metadata"]
        phases = [pod["status"]["phase"] for pod in pods if pod is not None]
        plural = next(one.plural for one in BY_PLURAL.values() if one.kind == job["kind"])

        def change(table: Object) -> None:
            condition(table, "Created", "True", f"{job['kind']}Created", f"{name} is created.")
            if "Running" in phases:
                condition(table, kind, "True", reason, f"{name} is running.")
            active = [phase == "Running" for phase in phases]
            counts = {"Master": sum(active[:1]), "Worker": sum(active[1:])}
            table["status"]["replicaStatuses"] = {kind: {"active": count} for kind, count in counts.items()}

        self._store.update(plural, metadata["namespace"], metadata["name"], change)

    def _is_left(self, pod: Object) -> bool:
        return pod["metadata"]["uid"] in self._settings.left


def _is_active(job: Object) -> bool:
    return "deletionTimestamp" not in job["metadata"] and not any(_holds(job, kind) for kind in DONE)


def _holds(job: Object, kind: str) -> bool:
    conditions = job.get("status", {}).get("conditions", ())
    return any(one["type"] == kind and one["status"] == "True" for one in conditions)


def _is_disrupted(pod: Object) -> bool:
    return _holds(pod, "DisruptionTarget")


def _fails_job(job: Object, pod: Object) -> str:
    """What its policy says of a pod that failed: why the job fails, empty when another is to be made."""
    code = exit_code(pod)
    for rule in job["spec"].get("podFailurePolicy", {}).get("rules", ()):
        if (codes := rule.get("onExitCodes")) is not None:
            if code is not None and (code in codes["values"]) == (codes["operator"] == "In"):
                name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
                said = f"Container {pod['spec']['containers'][0]['name']} for pod {name} failed with exit code {code}"
                return f"{said} matching FailJob rule" if rule["action"] == "FailJob" else ""
        elif _is_disrupted(pod):
            return "" if rule["action"] == "Ignore" else "Pod has condition DisruptionTarget matching FailJob rule"
    return ""
