//! What can be done about a running migration.

/// A change to a running migration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Give up; the guest runs on at the source.
    Cancel,
    /// Stop the guest now and finish.
    Pause,
    /// Change the downtime limit, in nanoseconds.
    SetDowntimeLimit(u64),
    /// Let the guest go on at the destination, which fetches what it lacks.
    StartPostcopy,
    /// Let post-copy send without a limit on its bandwidth.
    LiftPostcopyLimit,
    /// Connect again after the link was lost in post-copy. Repeated a little later when it is refused.
    Recover,
}
