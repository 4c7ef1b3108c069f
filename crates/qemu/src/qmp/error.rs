//! Why QEMU did not do what it was asked for.

/// A command without a result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QmpError {
    /// QEMU said no; the text is its own, word for word.
    #[error("{text} (QEMU's answer to {command})")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's error class, for example `GenericError`.
        class: String,
        /// What it says.
        text: String,
    },
    /// The connection ended: QEMU is gone, or going.
    #[error("QEMU closed its monitor")]
    Closed,
    /// No answer in time.
    #[error("QEMU did not answer {command} within {seconds} s")]
    Silent {
        /// The command.
        command: String,
        /// How long was waited.
        seconds: f64,
    },
    /// Something that is not QMP.
    #[error("QEMU's monitor says something that is not QMP: {0}")]
    Garbled(String),
}

impl QmpError {
    /// QEMU's own words, where it had any.
    pub fn text(&self) -> String {
        match self {
            QmpError::Refused { text, .. } => text.clone(),
            other => other.to_string(),
        }
    }
}
