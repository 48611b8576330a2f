// Validates the custom resources of rendered manifests, which Kubernetes' own schemas lack.
//
//     node deploy/resources.mjs FILE...
//
// It runs where the packages of `deploy/check` are installed.  Linkerd publishes no schema on npm: its own resources are
// only counted.
import { readFileSync } from "node:fs";
import { parseAllDocuments } from "yaml";
import { GRPCRoute } from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/GRPCRoute";
import { DestinationRule } from "@kubernetes-models/istio/networking.istio.io/v1/DestinationRule";
import { VirtualService } from "@kubernetes-models/istio/networking.istio.io/v1/VirtualService";
import { AuthorizationPolicy } from "@kubernetes-models/istio/security.istio.io/v1/AuthorizationPolicy";
import { PeerAuthentication } from "@kubernetes-models/istio/security.istio.io/v1/PeerAuthentication";
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor";

const models = [AuthorizationPolicy, DestinationRule, GRPCRoute, PeerAuthentication, ServiceMonitor, VirtualService];

let failed = 0;
for (const file of process.argv.slice(2)) {
  for (const document of parseAllDocuments(readFileSync(file, "utf8"))) {
    const resource = document.toJS();
    if (!resource) continue;
    const what = `${resource.kind} ${resource.metadata.name}`;
    if (resource.apiVersion.startsWith("policy.linkerd.io/")) {
      console.log(`unchecked ${what}`);
      continue;
    }
    const Model = models.find((it) => it.kind === resource.kind && it.apiVersion === resource.apiVersion);
    if (!Model) continue;
    try {
      new Model(resource).validate();
      console.log(`valid ${what}`);
    } catch (error) {
      console.error(`${file}: ${what}: ${error.message}`);
      failed += 1;
    }
  }
}
process.exitCode = failed === 0 ? 0 : 1;
