//! What goes wrong between us and a cluster, in words.

use kube::core::Status;
use thiserror::Error;

use crate::policy::Inexpressible;
use crate::stress::ParametersError;

/// Why something could not be done on the cluster.
#[derive(Debug, Error)]
pub enum KubevirtError {
    /// There is no usable way to a cluster.
    #[error("There is no way to a cluster: {0}; give --kubeconfig or set KUBECONFIG")]
    Config(String),
    /// The API server did not answer in all tries.
    #[error("Cannot {what}: the API server does not answer after {tries} tries: {reason}")]
    Unreachable {
        /// What was to be done.
        what: String,
        /// How often it was tried.
        tries: u32,
        /// What became of the last try.
        reason: String,
    },
    /// The API server says no because of missing permissions.
    #[error(
        "Cannot {what}: not allowed: {message}; `sterna kubevirt rbac` prints the rules that each command needs"
    )]
    Forbidden {
        /// What was to be done.
        what: String,
        /// In the API server's words, which name the verb and the resource.
        message: String,
    },
    /// The API server says no.
    #[error("Cannot {what}: {message} ({code} {reason})")]
    Refused {
        /// What was to be done.
        what: String,
        /// In the API server's words.
        message: String,
        /// The code of HTTP.
        code: u16,
        /// In one word.
        reason: String,
    },
    /// The answer is not what it should be.
    #[error("Cannot {what}: the answer makes no sense: {reason}")]
    Answer {
        /// What was to be done.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// The workload cannot be made.
    #[error(transparent)]
    Parameters(#[from] ParametersError),
    /// The scenario asks for what no policy has.
    #[error("A MigrationPolicy cannot express {}", list(.0))]
    Policy(Vec<Inexpressible>),
    /// The cluster is not ready for it.
    #[error("{0}")]
    NotReady(String),
    /// The user asked to stop.
    #[error("Interrupted")]
    Interrupted,
}

fn list(problems: &[Inexpressible]) -> String {
    let texts: Vec<String> =
        problems.iter().map(|it| format!("{}: {}", it.field, it.instead)).collect();
    texts.join("; ")
}

impl KubevirtError {
    /// From a client's error.
    pub(crate) fn of(what: &str, tries: u32, error: &kube::Error) -> KubevirtError {
        let what = what.to_owned();
        match error {
            kube::Error::Api(status) if status.code == 403 => {
                KubevirtError::Forbidden { what, message: status.message.clone() }
            }
            kube::Error::Api(status) => KubevirtError::Refused {
                what,
                message: words(status),
                code: status.code,
                reason: status.reason.clone(),
            },
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => {
                KubevirtError::Answer { what, reason: chain(error) }
            }
            _ => KubevirtError::Unreachable { what, tries, reason: chain(error) },
        }
    }

    /// Whether the object is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, KubevirtError::Refused { code: 404, .. })
    }

    /// Whether the cluster, as opposed to the connection, said no.
    pub fn is_refusal(&self) -> bool {
        matches!(self, KubevirtError::Refused { .. } | KubevirtError::Forbidden { .. })
    }
}

/// The message, which mostly holds the causes already.
fn words(status: &Status) -> String {
    let causes = status.details.as_ref().map(|it| it.causes.as_slice()).unwrap_or_default();
    let mut text = status.message.clone();
    for cause in causes {
        if !text.contains(&cause.message) {
            text = format!("{text}; {}: {}", cause.field, cause.message);
        }
    }
    if text.is_empty() { "no reason was given".to_owned() } else { text }
}

/// The message and those of its causes that say more.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
