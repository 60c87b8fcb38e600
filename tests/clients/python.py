"""What a program on PyPI's `kubernetes` client does in a day, against the cluster of KUBECONFIG.

Works in the namespace of its argument, and fails at the first answer that is not as it should be.
"""

import sys

from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException

NAMESPACE = sys.argv[1]
LABELS = {"app": "python"}
GROUP = "python.hansa.dev"


def refused(status, call, *args, **more):
    try:
        call(*args, **more)
    except ApiException as error:
        assert error.status == status, (error.status, error.body)
        return error
    raise AssertionError(f"{call.__name__} was not refused")


def config_maps(core):
    made = core.create_namespaced_config_map(
        NAMESPACE, client.V1ConfigMap(metadata={"name": "a", "labels": LABELS}, data={"k": "v"})
    )
    assert made.metadata.uid and made.metadata.resource_version, made
    made.data["k"] = "w"
    core.replace_namespaced_config_map("a", NAMESPACE, made)
    refused(409, core.replace_namespaced_config_map, "a", NAMESPACE, made)
    changed = core.patch_namespaced_config_map("a", NAMESPACE, {"data": {"l": "x"}})
    assert changed.data == {"k": "w", "l": "x"}, changed.data
    found = core.list_namespaced_config_map(NAMESPACE, label_selector="app=python")
    assert [item.metadata.name for item in found.items] == ["a"], found
    invalid = {"metadata": {"name": "No Name"}}
    error = refused(422, core.create_namespaced_config_map, NAMESPACE, invalid)
    assert "metadata.name" in error.body, error.body
    return found.metadata.resource_version


def watched(core, version):
    core.delete_namespaced_config_map("a", NAMESPACE)
    stream = watch.Watch().stream(
        core.list_namespaced_config_map, NAMESPACE, resource_version=version, timeout_seconds=30
    )
    event = next(event for event in stream if event["object"].metadata.name == "a")
    assert event["type"] == "DELETED", event


def deployment(apps, core):
    container = client.V1Container(name="c", image="hansa.dev/any:v1")
    template = client.V1PodTemplateSpec(
        metadata={"labels": LABELS}, spec=client.V1PodSpec(containers=[container])
    )
    spec = client.V1DeploymentSpec(replicas=1, selector={"matchLabels": LABELS}, template=template)
    apps.create_namespaced_deployment(
        NAMESPACE, client.V1Deployment(metadata={"name": "d"}, spec=spec)
    )
    scale = apps.patch_namespaced_deployment_scale("d", NAMESPACE, {"spec": {"replicas": 2}})
    assert scale.spec.replicas == 2, scale
    for event in watch.Watch().stream(
        apps.list_namespaced_deployment, NAMESPACE, timeout_seconds=120
    ):
        if event["object"].status.ready_replicas == 2:
            break
    else:
        raise AssertionError("two replicas were not ready in time")
    pods = core.list_namespaced_pod(NAMESPACE, label_selector="app=python", limit=1)
    assert len(pods.items) == 1 and pods.metadata._continue, pods.metadata
    name = pods.items[0].metadata.name
    eviction = client.V1Eviction(metadata={"name": name, "namespace": NAMESPACE})
    core.create_namespaced_pod_eviction(name, NAMESPACE, eviction)


def custom_resource(api):
    extensions = client.ApiextensionsV1Api(api)
    properties = {"spec": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1}}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": properties}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    names = {"plural": "snakes", "singular": "snake", "kind": "Snake"}
    spec = {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]}
    extensions.create_custom_resource_definition(
        {"metadata": {"name": f"snakes.{GROUP}"}, "spec": spec}
    )
    definitions = watch.Watch().stream(
        extensions.list_custom_resource_definition,
        field_selector=f"metadata.name=snakes.{GROUP}",
        timeout_seconds=60,
    )
    established = lambda it: any(
        c.type == "Established" and c.status == "True" for c in it.status.conditions or []
    )
    next(event for event in definitions if established(event["object"]))
    snakes = dynamic.DynamicClient(api).resources.get(api_version=f"{GROUP}/v1", kind="Snake")
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Snake", "metadata": {"name": "s"}}
    made = snakes.server_side_apply(
        body={**body, "spec": {"size": 3}}, namespace=NAMESPACE, field_manager="python"
    )
    assert made.spec.size == 3 and made.metadata.managedFields[0].manager == "python", made
    small = {**body, "metadata": {"name": "t"}, "spec": {"size": 0}}
    refused(422, snakes.create, body=small, namespace=NAMESPACE)
    extensions.delete_custom_resource_definition(f"snakes.{GROUP}")


def main():
    config.load_kube_config()
    api = client.ApiClient()
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    assert client.VersionApi(api).get_code().major == "1"
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    watched(core, config_maps(core))
    deployment(apps, core)
    custom_resource(api)
    review = client.AuthorizationV1Api(api).create_self_subject_access_review(
        {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
    )
    assert review.status.allowed, review
    core.delete_namespace(NAMESPACE)


main()
