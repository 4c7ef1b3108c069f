//! Evictions, in the version that the API server speaks.

use serde_json::json;

use crate::cluster::Cluster;
use crate::error::KubevirtError;

const NEW: &str = "policy/v1";
const OLD: &str = "policy/v1beta1";

/// Knows the version once it was answered.
#[derive(Default)]
pub struct Evictor {
    /// The version that is spoken.
    pub version: Option<&'static str>,
}

impl Evictor {
    /// Asks for a Pod to go; what the API server said. That it is to wait is no error.
    pub async fn evict(
        &mut self,
        cluster: &Cluster,
        namespace: &str,
        pod: &str,
    ) -> Result<String, KubevirtError> {
        let mut answer = ask(cluster, namespace, pod, self.version.unwrap_or(NEW)).await;
        if self.version.is_none() {
            // An older API server cannot read the newer kind, and says so in one of these ways.
            let is_unknown = matches!(
                &answer,
                Err(KubevirtError::Refused { code: 400 | 404 | 406 | 415, message, .. })
                    if !message.contains(pod)
            );
            if is_unknown {
                answer = ask(cluster, namespace, pod, OLD).await;
            }
            self.version = Some(if is_unknown { OLD } else { NEW });
        }
        match answer {
            Ok(()) => Ok("evicted".to_owned()),
            // The guest is on its way, or a budget protects it; either way the next round tells.
            Err(KubevirtError::Refused { code: 429, message, .. }) => Ok(message),
            Err(error) if error.is_not_found() => Ok("it is gone already".to_owned()),
            Err(error) => Err(error),
        }
    }
}

async fn ask(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
    version: &str,
) -> Result<(), KubevirtError> {
    let body = json!({
        "apiVersion": version,
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": namespace},
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
    cluster.post_once(&path, &body).await
}
