//! How our objects are told from all others.

/// What an object belongs to.
pub const NAME: &str = "app.kubernetes.io/name";
/// Who made it.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`] on what is ours.
pub const US: &str = "sterna";
/// The run that it belongs to.
pub const RUN_ID: &str = "sterna/run-id";
/// What it is for.
pub const ROLE: &str = "sterna/role";
/// The virtual machine that it is about.
pub const VM: &str = "sterna/vm";

/// An annotation of instances whose agent tells its counters: on which port.
pub const METRICS_PORT: &str = "sterna/metrics-port";

/// Selects what is ours, of one run or of all.
pub fn selector(run_id: Option<&str>) -> String {
    let ours = format!("{MANAGED_BY}={US}");
    run_id.map_or_else(|| ours.clone(), |run_id| format!("{ours},{RUN_ID}={run_id}"))
}
