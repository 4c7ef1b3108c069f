//! The objects themselves.

use serde_json::{Value, json};

use super::{
    DATA_DISK_SERIAL, ECHO_PORT, METRICS_PORT, Parameters, ParametersError, Tool, cloud_init,
};
use crate::encode::base64;
use crate::{labels, probe_pod};

/// Every object of the workload, in the order in which they are created.
pub fn manifests(parameters: &Parameters) -> Result<Vec<Value>, ParametersError> {
    parameters.check()?;
    let user_data = cloud_init::user_data(parameters)?;
    let mut objects = vec![secret(parameters, &user_data)];
    objects.extend(parameters.policy.as_ref().map(|policy| policy.object(&parameters.run_id)));
    objects.push(service(parameters));
    objects.extend((1..=parameters.count).map(|number| virtual_machine(parameters, number)));
    if let Some(image) = &parameters.probe_image {
        objects.extend((1..=parameters.count).map(|number| probe_pod(parameters, number, image)));
    }
    Ok(objects)
}

/// The name of the Secret that holds the user data.
pub fn cloud_init_secret_name(parameters: &Parameters) -> String {
    format!("{}-cloudinit", parameters.name)
}

fn labels_of(parameters: &Parameters, role: &str) -> Value {
    json!({
        labels::NAME: "migration-stress",
        labels::MANAGED_BY: labels::US,
        labels::RUN_ID: parameters.run_id,
        labels::ROLE: role,
    })
}

fn metadata(parameters: &Parameters, name: &str, role: &str) -> Value {
    json!({
        "name": name,
        "namespace": parameters.namespace,
        "labels": labels_of(parameters, role),
    })
}

fn secret(parameters: &Parameters, user_data: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(parameters, &cloud_init_secret_name(parameters), "cloud-init"),
        "type": "Opaque",
        "data": {"userdata": base64(user_data.as_bytes())},
    })
}

/// Without an address of its own: each guest is found by its own name.
fn service(parameters: &Parameters) -> Value {
    let mut ports = vec![json!({"name": "ssh", "port": 22, "protocol": "TCP"})];
    if parameters.tool == Tool::Agent {
        ports = vec![
            json!({"name": "echo-tcp", "port": ECHO_PORT, "protocol": "TCP"}),
            json!({"name": "echo-udp", "port": ECHO_PORT, "protocol": "UDP"}),
            json!({"name": "metrics", "port": METRICS_PORT, "protocol": "TCP"}),
        ];
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(parameters, &parameters.name, "service"),
        "spec": {
            "clusterIP": "None",
            "selector": {labels::RUN_ID: parameters.run_id, labels::ROLE: "guest"},
            "ports": ports,
        },
    })
}

fn virtual_machine(parameters: &Parameters, number: u32) -> Value {
    let name = parameters.vm_name(number);
    let mut labels = labels_of(parameters, "guest");
    labels[labels::VM] = name.clone().into();
    let mut template = json!({"labels": labels});
    if parameters.tool == Tool::Agent {
        template["annotations"] = json!({labels::METRICS_PORT: METRICS_PORT.to_string()});
    }
    let mut machine = json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": metadata(parameters, &name, "guest"),
        "spec": {
            "runStrategy": "Always",
            "template": {
                "metadata": template,
                "spec": instance(parameters, &name),
            },
        },
    });
    if let Some(disk) = &parameters.data_disk {
        let mut storage = json!({
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": quantity(disk.size.0)}},
        });
        if let Some(class) = &disk.storage_class {
            storage["storageClassName"] = class.clone().into();
        }
        machine["spec"]["dataVolumeTemplates"] = json!([{
            "metadata": {
                "name": format!("{name}-data"),
                "labels": labels_of(parameters, "data"),
            },
            "spec": {"source": {"blank": {}}, "storage": storage},
        }]);
    }
    machine
}

fn instance(parameters: &Parameters, name: &str) -> Value {
    let mut disks = vec![
        json!({"name": "root", "disk": {"bus": "virtio"}}),
        // A read-only CD is shared by nature, so only the root disk's overlay is copied in a migration.
        json!({"name": "cloudinit", "cdrom": {"bus": "sata", "readonly": true}}),
    ];
    let secret = cloud_init_secret_name(parameters);
    let mut volumes = vec![
        json!({"name": "root", "containerDisk": {"image": parameters.container_disk}}),
        json!({"name": "cloudinit", "cloudInitNoCloud": {"secretRef": {"name": secret}}}),
    ];
    if parameters.data_disk.is_some() {
        disks.push(json!({"name": "data", "disk": {"bus": "virtio"}, "serial": DATA_DISK_SERIAL}));
        volumes.push(json!({"name": "data", "dataVolume": {"name": format!("{name}-data")}}));
    }
    let port = if parameters.tool == Tool::Agent { ECHO_PORT } else { 22 };
    let mut spec = json!({
        "evictionStrategy": parameters.eviction_strategy,
        "hostname": name,
        "subdomain": parameters.name,
        "terminationGracePeriodSeconds": 30,
        "domain": {
            "cpu": {"cores": parameters.cores},
            "memory": {"guest": quantity(parameters.memory.0)},
            "devices": {
                "disks": disks,
                "interfaces": [{"name": "default", "masquerade": {}}],
                "rng": {},
            },
        },
        "networks": [{"name": "default", "pod": {}}],
        "volumes": volumes,
        // The guest is ready when the workload answers, not when its processors turn.
        "readinessProbe": {
            "tcpSocket": {"port": port},
            "initialDelaySeconds": 5,
            "periodSeconds": 5,
            "timeoutSeconds": 2,
        },
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
            "weight": 100,
            "podAffinityTerm": {
                "topologyKey": "kubernetes.io/hostname",
                "labelSelector": {"matchLabels": {
                    labels::RUN_ID: parameters.run_id,
                    labels::ROLE: "guest",
                }},
            },
        }]}},
    });
    if !parameters.node_selector.is_empty() {
        spec["nodeSelector"] = json!(parameters.node_selector);
    }
    spec
}

/// Probes one guest from another Pod, by its name in the headless Service, until it is deleted.
fn probe_pod(parameters: &Parameters, number: u32, image: &str) -> Value {
    let vm = parameters.vm_name(number);
    let host = format!("{vm}.{}.{}.svc", parameters.name, parameters.namespace);
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(parameters, &probe_pod::name(&vm), "probe"),
        "spec": {
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 5,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "probe",
                "image": image,
                // A guest has another address after each migration, so its name is asked for again and again.
                "command": [
                    "sterna", "probe", "udp", format!("{host}:{ECHO_PORT}"), "--follow",
                    "--interval", format!("{}ms", probe_pod::INTERVAL.as_millis()),
                    // Each outage is told when it is over, so that `migrate` finds it in the log.
                    "--patience", "15min", "--format", "ndjson",
                ],
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]},
                },
                "resources": {"requests": {"cpu": "100m", "memory": "32Mi"}},
            }],
        },
    });
    pod["metadata"]["labels"][labels::VM] = vm.into();
    pod
}

/// A size as Kubernetes writes it, exact.
fn quantity(bytes: u64) -> String {
    let units = [(30, "Gi"), (20, "Mi"), (10, "Ki")];
    let fits = units.iter().find(|(shift, _)| bytes != 0 && bytes.trailing_zeros() >= *shift);
    fits.map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}
