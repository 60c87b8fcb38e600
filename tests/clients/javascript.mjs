// What a program on npm's `@kubernetes/client-node` does in a day, against the cluster of KUBECONFIG.
//
// Works in the namespace of its argument, and fails at the first answer that is not as it should be.

import assert from 'node:assert/strict';
import * as k8s from '@kubernetes/client-node';

const namespace = process.argv[2];
const labels = { app: 'javascript' };
const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);

async function refused(code, call) {
  const error = await call.then(() => assert.fail('it was not refused'), (error) => error);
  assert.equal(error.code, code, String(error));
  return error;
}

/** Waits for an object of a list that the check holds for, as informers learn of it. */
function seen(path, list, check) {
  const informer = k8s.makeInformer(config, path, list);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`nothing came from ${path}`)), 120_000);
    const look = (object) => {
      if (!check(object)) return;
      clearTimeout(timer);
      resolve(object);
    };
    for (const verb of ['add', 'update', 'delete']) informer.on(verb, look);
    informer.on('error', reject);
    informer.start();
  });
}

await core.createNamespace({ body: { metadata: { name: namespace } } });

const map = { metadata: { name: 'a', labels }, data: { k: 'v' } };
const made = await core.createNamespacedConfigMap({ namespace, body: map });
assert.ok(made.metadata.uid);
made.data.k = 'w';
await core.replaceNamespacedConfigMap({ name: 'a', namespace, body: made });
await refused(409, core.replaceNamespacedConfigMap({ name: 'a', namespace, body: made }));
const found = await core.listNamespacedConfigMap({ namespace, labelSelector: 'app=javascript' });
assert.deepEqual(found.items.map((item) => item.data), [{ k: 'w' }]);
const invalid = { metadata: { name: 'No Name' } };
await refused(422, core.createNamespacedConfigMap({ namespace, body: invalid }));

await apps.createNamespacedDeployment({
  namespace,
  body: {
    metadata: { name: 'd' },
    spec: {
      replicas: 2,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: { containers: [{ name: 'c', image: 'hansa.dev/any:v1' }] },
      },
    },
  },
});
await seen(
  `/apis/apps/v1/namespaces/${namespace}/deployments`,
  () => apps.listNamespacedDeployment({ namespace }),
  (deployment) => deployment.status?.readyReplicas === 2,
);

const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const applied = await objects.patch(
  { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', namespace }, data: { l: 'x' } },
  undefined,
  undefined,
  'javascript',
  true,
  k8s.PatchStrategy.ServerSideApply,
);
assert.deepEqual(applied.data, { k: 'w', l: 'x' });
await core.deleteNamespace({ name: namespace });
// The informer goes on watching until the process ends.
process.exit(0);
