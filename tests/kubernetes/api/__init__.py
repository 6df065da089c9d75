"""A Kubernetes of the tests: an API server on loopback that the real kubectl speaks to, with operators, a scheduler and
nodes whose pods are real processes of this machine.

    from tests.kubernetes.api.cluster import Kubernetes

    with Kubernetes(tmp_path) as cluster:                   # TLS, a token; runs in a thread of its own
        cluster.kubectl("apply", "-f", "night.yaml").check_returncode()
        cluster.until(lambda: cluster.phase("night-worker-0") == "Running")
        cluster.evict("night-worker-0")

Needs a kubectl (`kubectl.path()`: beside this Python, else on PATH) and, for pods that run, root and util-linux
(`nodes.containers.why_not()`). In tests/kubernetes the fixture `cluster` is one for each test; it skips where something
is missing, and fails in CI. Elsewhere a test asks both `why_not` itself.

## What a test uses
- `cluster.env`: of a process that is to use this cluster: `KUBECONFIG`, and `PATH` with the real kubectl first.
- `cluster.kubeconfig`: that file: context `tests`, user `tester`, namespace `default`.
- `cluster.kubectl(*words, given=None, timeout_s=60, kubeconfig=None)`: runs kubectl to its end, `given` on its standard
  input: a `CompletedProcess[str]`, unchecked.
- `cluster.popen(*words)`: starts it; text pipes. It is ended with the cluster.
- `cluster.objects(resource)`: all objects of a plural name (`"pods"`, `"pytorchjobs"`, `"events"`), as copies.
- `cluster.object(resource, name)`: one; None where there is none.
- `cluster.phase(pod)`: STATUS of `kubectl get pods` (`"Running"`, `"ImagePullBackOff"`, `"Evicted"`, `"Terminating"`);
  `""` without such a pod.
- `cluster.log(pod)`: all that it has printed so far, as text.
- `cluster.until(condition, what="", within_s=120)`: waits until it is true; after that, AssertionError.
- `cluster.state()`: pods, events and ends of logs, for people. It is added to an AssertionError that leaves the block.
- `cluster.processes()`: pids of this machine that are of a pod of this cluster, whether it knows of them or not.
- `cluster.requests`: `[(method, path, status)]` of all requests so far.
- `cluster.home(claim)`: the folder of this machine that stands for a PersistentVolumeClaim.
- `cluster.own_networks`: whether each pod has a network of its own; else all share this machine's loopback.

## What a test may do to it, before or while pods run
- `cluster.hold(reason, message, pod="")`: pods that come (or the one of that name) stay Pending:
  `hold("Unschedulable", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")`, `"ImagePullBackOff"`,
  `"ErrImagePull"`, `"ContainerCreating"`, `"CreateContainerConfigError"`.
- `cluster.release()`: those that were held are started, if nothing else is in their way.
- `cluster.nodes = [Node("node-0", cpus=4, memory="8Gi", gpus=1, labels={"pool": "t4"})]`: what does not fit is
  Unschedulable and says why. By default three with 16 cores, 64Gi and 8 `nvidia.com/gpu`.
- `cluster.images = {"motley:0.1.0"}`: others are ImagePullBackOff. None, the default: every image is there.
- `cluster.settings.python = "…/bin/python"`: of every image, before the first pod. By default the tests' own.
- `cluster.storage_classes = {"standard", "nfs"}`: a claim of another class is never bound, and its pods stay Pending.
- `cluster.evict(pod, replaced=False)`: SIGTERM, after its grace SIGKILL; then it is Failed with reason Evicted and
  condition DisruptionTarget. Its job leaves it so; with `replaced` it makes another one, as operators do.
- `cluster.node_dies(pod, replaced=False)`: all of its processes are killed at once, and other pods hear nothing of it;
  Failed, with reason NodeLost.
- `cluster.unplug(pod)`, `cluster.plug(pod)`: nothing goes to other pods or comes from them; its processes run on, and
  `kubectl exec` and `kubectl logs` work as before, since they need no network here.
- `cluster.forbid(verb, resource)`: 403, `pods is forbidden: User "tester" cannot list resource "pods" in API group ""
  in the namespace "default"`. Both may be `"*"`; `"pods/exec"` is a resource. `kubectl auth can-i` says so too.
- `cluster.quota["persistentvolumeclaims"] = 2`: 403 `exceeded quota` from the third on. Of `"pods"`: the job
  gets none, and has an event `FailedCreatePod`.
- `cluster.remove_kind("pytorchjobs")`: without its CRD: `no matches for kind "PyTorchJob" in version …`.
- `cluster.refuse_admission(resource, message)`: 403 `admission webhook "…" denied the request: message`.
- `cluster.add_namespace(name)`: `default` and `training` are there; in another one: `namespaces "x" not found`.
- `cluster.log_keeps(pod, size)`: the log was rotated: only its last lines, of so many bytes, are left.
- `cluster.log_loses(pod, lines)`: who follows its log does not get the next lines; who asks for them again does.
- `cluster.cut_streams()`: every log, watch and exec that is open is cut off, as when a proxy gives up.
- `cluster.fails_for(seconds)`: 503 for every request so long.
- `cluster.stop_answering()`, `cluster.answer_again()`: connections are refused, until they are not; pods run on.
- `cluster.kubeconfig_with(token=…, context=…, namespace=…, server=…)`: another file: a wrong token is
  Unauthorized, a context that is not there, a server that does not answer.

## What is in it
Discovery, OpenAPI v3 as far as kubectl needs it to have the server validate, namespaces, pods with `log` and `exec`
(WebSocket, so `kubectl cp` too), services, configmaps, secrets, persistentvolumeclaims, events, serviceaccounts, nodes,
jobs, the three kinds of `motley export kubernetes` and TrainingRuntimes; get, list, watch, create, apply (client- and
server-side), patch, delete with grace and propagation, dry run, `auth can-i`, labels and fields as selectors. CRDs
have the operators' own schemas where `shared/k8s` is, with their CEL rules where an evaluator is installed. Containers
are not started again in their pod.

A pod's container is a mount, pid and uts namespace: `/workspace` and its like are mounted there, `python3` is that of
the tests, with what the example's image has of Motley. `kubectl exec POD -- …` runs in the same namespaces.

Its network is its own: loopback, and a card `eth0` with an address (`status.podIP`) on a bridge that all pods of this
cluster share, and nothing else. Its `/etc/hosts` has its own name; the cluster's DNS has headless services and the
hostnames of pods in their domains, of those that run. Where this machine refuses networks
(`nodes.pod_network.why_not()`), and in `Kubernetes(folder, own_networks=False)`, pods share its loopback, names of all
pods stand for 127.0.0.1 in their `/etc/hosts`, and two runs need two ports.

When the block ends every process is killed, whatever happened, and AssertionError names those that are left. Networks
have no name in this machine's own, and are gone with the last process in them.
"""
