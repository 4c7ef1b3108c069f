//! Which cluster, as whom and in which namespace, decided as kubectl decides it.

use std::path::{Path, PathBuf};

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::error::KubevirtError;

/// What the user said about the cluster.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// The file; None takes `KUBECONFIG`, `~/.kube/config`, or the service account of a Pod.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it; None takes the current one.
    pub context: Option<String>,
    /// The namespace; None takes the context's.
    pub namespace: Option<String>,
    /// Calls a second at most.
    pub qps: f64,
    /// Calls at once after a rest.
    pub burst: u32,
    /// Ask the server what it would do, and change nothing.
    pub dry_run: bool,
}

impl Default for ConnectOptions {
    fn default() -> ConnectOptions {
        ConnectOptions {
            kubeconfig: None,
            context: None,
            namespace: None,
            qps: 50.0,
            burst: 100,
            dry_run: false,
        }
    }
}

/// A file that was named wins, then the environment's, then the one at home, then the Pod's own account.
pub(super) async fn config(options: &ConnectOptions) -> Result<Config, KubevirtError> {
    let mut config = match kubeconfig(options.kubeconfig.as_deref())? {
        Some(file) => from_file(file, options).await?,
        None if options.context.is_some() => {
            let context = options.context.as_deref().unwrap_or_default();
            return Err(KubevirtError::Config(format!(
                "--context {context} was given, but there is no kubeconfig"
            )));
        }
        None => Config::incluster().map_err(|_| {
            KubevirtError::Config("there is no kubeconfig, and this is no Pod".to_owned())
        })?,
    };
    if let Some(namespace) = &options.namespace {
        config.default_namespace.clone_from(namespace);
    }
    // A server that was killed must be noticed; watches end by themselves within five minutes.
    // Whether a refusal is worth another try is for us to say: that of an eviction is an answer.
    config.default_retry = false;
    config.connect_timeout = Some(std::time::Duration::from_secs(10));
    Ok(config)
}

fn kubeconfig(named: Option<&Path>) -> Result<Option<Kubeconfig>, KubevirtError> {
    let fail = |error: &dyn std::fmt::Display| KubevirtError::Config(error.to_string());
    if let Some(path) = named {
        let read = Kubeconfig::read_from(path);
        return read
            .map(Some)
            .map_err(|error| KubevirtError::Config(format!("{}: {error}", path.display())));
    }
    if let Some(found) = Kubeconfig::from_env().map_err(|error| fail(&error))? {
        return Ok(Some(found));
    }
    let home = std::env::var_os("HOME").map(|it| Path::new(&it).join(".kube/config"));
    match home.filter(|it| it.exists()) {
        Some(path) => Kubeconfig::read_from(path).map(Some).map_err(|error| fail(&error)),
        None => Ok(None),
    }
}

async fn from_file(file: Kubeconfig, options: &ConnectOptions) -> Result<Config, KubevirtError> {
    let names: Vec<String> = file.contexts.iter().map(|it| it.name.clone()).collect();
    if let Some(context) = &options.context
        && !names.contains(context)
    {
        return Err(KubevirtError::Config(format!(
            "--context {context}: there is no such context; there are {}",
            names.join(", ")
        )));
    }
    let choice = KubeConfigOptions { context: options.context.clone(), ..Default::default() };
    let config = Config::from_custom_kubeconfig(file, &choice).await;
    config.map_err(|error| KubevirtError::Config(crate::error::chain(&error)))
}
