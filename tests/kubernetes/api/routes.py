"""Paths of the API server: who asks, whether they may, and what answers."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.kubernetes.api import protobuf
from tests.kubernetes.api.api_errors import ApiError, no_such_path
from tests.kubernetes.api.http_server import Answer, Request, Stream, Upgrade
from tests.kubernetes.api.nodes import pod_streams
from tests.kubernetes.api.nodes.kubelet import Kubelet
from tests.kubernetes.api.resources import RESOURCES, Resource, groups, listed, open_api
from tests.kubernetes.api.settings import Settings
from tests.kubernetes.api.store import Store
from tests.kubernetes.api.verbs import Verbs

Object = dict[str, Any]
VERSION = {"major": "1", "minor": "37", "gitVersion": "v1.37.0", "gitCommit": "0" * 40, "gitTreeState": "clean"}
VERSION |= {"buildDate": "2026-01-01T00:00:00Z", "goVersion": "go1.26", "compiler": "gc", "platform": "linux/amd64"}
OPEN_API_2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
BY_METHOD = {"GET": "get", "POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}


class Routes:
    def __init__(self, store: Store, settings: Settings, kubelet: Kubelet) -> None:
        self._store, self._settings, self._kubelet = store, settings, kubelet
        self._verbs = Verbs(store, settings)
        self.requests: list[tuple[str, str, int]] = []

    async def answer(self, request: Request) -> Answer | Stream | Upgrade:
        try:
            answer = self._answered(request)
        except ApiError as error:
            answer = Answer.of(error.status(), error.code)
        self.requests.append((request.method, request.path, answer.status if isinstance(answer, Answer) else 200))
        return answer

    def _answered(self, request: Request) -> Answer | Stream | Upgrade:
        if time.monotonic() < self._settings.failing_until:
            raise ApiError(503, "ServiceUnavailable", "the server is currently unable to handle the request")
        if request.headers.get("authorization") != f"Bearer {self._settings.token}":
            raise ApiError(401, "Unauthorized", "Unauthorized")
        if request.path == "/openapi/v2":
            return Answer(200, b"", OPEN_API_2)  # a document without anything: v3 has what kubectl looks for
        if (found := self._discovery(request.path)) is not None:
            return Answer.of(found)
        return self._of_resource(request)

    @property
    def _resources(self) -> list[Resource]:
        return [one for one in RESOURCES if one.plural not in self._settings.removed]

    def _discovery(self, path: str) -> Object | None:
        """None for a path of something else."""
        if path == "/version":
            return VERSION
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        if path == "/apis":
            return groups(self._resources)
        if path == "/openapi/v3":
            prefixes = {one.prefix for one in self._resources}
            urls = {prefix[1:]: {"serverRelativeURL": f"/openapi/v3{prefix}?hash=0"} for prefix in sorted(prefixes)}
            return {"paths": urls}
        if path.startswith("/openapi/v3/"):
            return open_api(self._resources, path[len("/openapi/v3") :])
        return listed(self._resources, path)

    def _of_resource(self, request: Request) -> Answer | Stream | Upgrade:
        resource, namespace, name, part = self._meant(request.path)
        verb = BY_METHOD.get(request.method, "")
        watches = request.is_true("watch")
        if not name and verb == "get":
            verb = "watch" if watches else "list"
        if part == "exec":
            verb = "create"
        if resource.plural.startswith("selfsubject"):
            return self._review(request, resource)
        what = f"{resource.plural}/{part}" if part in ("log", "exec") else resource.plural
        self._verbs.allow(verb, resource, namespace, name, what)
        if part == "log":
            return pod_streams.log(request, self._store, self._kubelet, namespace, name)
        if part == "exec":
            return pod_streams.exec_(request, self._store, self._kubelet, namespace, name)
        return self._done(verb, request, resource, namespace, name)

    def _meant(self, path: str) -> tuple[Resource, str, str, str]:
        """Resource, namespace, name and subresource."""
        for resource in self._resources:
            if path.startswith(f"{resource.prefix}/"):
                words = path[len(resource.prefix) + 1 :].split("/")
                namespace = ""
                if len(words) > 2 and words[0] == "namespaces" and resource.namespaced:
                    namespace, words = words[1], words[2:]
                if words[0] == resource.plural and len(words) <= 3:
                    name, part = (*words[1:], "", "")[:2]
                    if not part or part in resource.subresources:
                        return resource, namespace, name, part
        raise no_such_path()

    def _done(
        self, verb: str, request: Request, resource: Resource, namespace: str, name: str
    ) -> Answer | Stream | Upgrade:
        verbs = self._verbs
        if verb == "get":
            return verbs.get(request, resource, namespace, name)
        if verb == "list":
            return verbs.list_all(request, resource, namespace)
        if verb == "watch":
            return verbs.watch(request, resource, namespace)
        if verb == "create" and not name:
            return verbs.create(request, resource, namespace)
        if verb == "patch":
            return verbs.patch(request, resource, namespace, name)
        if verb == "update":
            return verbs.replace(request, resource, namespace, name)
        if verb == "delete" and name:
            return verbs.delete(request, resource, namespace, name)
        if verb == "delete":
            return verbs.delete_all(request, resource, namespace)
        raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")

    def _review(self, request: Request, resource: Resource) -> Answer:
        """`kubectl auth can-i` and `kubectl auth whoami`."""
        body = request.body
        table = protobuf.access_review(body) if protobuf.is_protobuf(body) else json.loads(body)
        if resource.plural == "selfsubjectreviews":
            return Answer.of({**table, "status": {"userInfo": {"username": self._settings.user}}}, 201)
        asked = table["spec"].get("resourceAttributes", {})
        part = asked.get("subresource", "")
        what = f"{asked.get('resource', '')}/{part}" if part else asked.get("resource", "")
        allowed = not self._settings.is_forbidden(asked.get("verb", ""), what)
        return Answer.of({**table, "status": {"allowed": allowed}}, 201)
