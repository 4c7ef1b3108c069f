//! Time stamps cheap enough to take around every single page write.

use std::{fs, sync::OnceLock};

use rustix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC in nanoseconds, the clock every process of this machine shares.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// A cycle counter with a known rate.
///
/// A worker that stamps each write spends most of its time in `clock_gettime` (20 to 40 ns through
/// the vDSO, a microsecond where a hypervisor makes it a system call). The time stamp counter takes
/// a few nanoseconds, but its rate is not known to programs, and on old machines it is not
/// constant.
///
/// So: where the processor says that the counter is invariant, and the kernel has not turned to a
/// slow clock source (its own sign of distrust), the rate is measured once against CLOCK_MONOTONIC.
/// Elsewhere ticks are nanoseconds of CLOCK_MONOTONIC, and everything works the same but slower.
/// The measured rate is good to some millionths, less than what NTP may bend CLOCK_MONOTONIC
/// itself: measure intervals with it, and take instants from [`monotonic_ns`].
#[derive(Debug, Clone, Copy)]
pub struct Cycles {
    is_tsc: bool,
    /// Nanoseconds per tick, with [`FRACTION_BITS`] binary places.
    ns_per_tick: u64,
    /// Ticks per nanosecond, with as many.
    ticks_per_ns: u64,
}

const FRACTION_BITS: u32 = 32;
const CALIBRATION_NS: u64 = 15_000_000;

impl Cycles {
    /// The counter of this machine; the first call takes some 15 ms to measure its rate.
    pub fn calibrated() -> &'static Cycles {
        static CYCLES: OnceLock<Cycles> = OnceLock::new();
        CYCLES.get_or_init(|| if counter::is_usable() { measured() } else { FALLBACK })
    }

    /// The counter now, in ticks since some moment in the past.
    ///
    /// The processor may take the stamp some nanoseconds before earlier instructions have finished.
    #[inline]
    #[must_use]
    pub fn now(&self) -> u64 {
        // Always predicted: the answer never changes.
        if self.is_tsc { counter::read() } else { monotonic_ns() }
    }

    /// A difference of ticks in nanoseconds.
    #[inline]
    #[must_use]
    pub fn ns(&self, ticks: u64) -> u64 {
        scale(ticks, self.ns_per_tick)
    }

    /// The number of ticks in `ns` nanoseconds.
    #[inline]
    #[must_use]
    pub fn ticks(&self, ns: u64) -> u64 {
        scale(ns, self.ticks_per_ns)
    }

    /// Where ticks come from: `tsc` or `clock_gettime`.
    #[must_use]
    pub fn source(&self) -> &'static str {
        if self.is_tsc { "tsc" } else { "clock_gettime" }
    }
}

const FALLBACK: Cycles =
    Cycles { is_tsc: false, ns_per_tick: 1 << FRACTION_BITS, ticks_per_ns: 1 << FRACTION_BITS };

/// Saturates after centuries instead of wrapping.
#[inline]
fn scale(value: u64, factor: u64) -> u64 {
    let product = (u128::from(value) * u128::from(factor)) >> FRACTION_BITS;
    u64::try_from(product).unwrap_or(u64::MAX)
}

fn measured() -> Cycles {
    let (start_ns, start_ticks) = pair();
    std::thread::sleep(std::time::Duration::from_nanos(CALIBRATION_NS));
    let (end_ns, end_ticks) = pair();
    let ns = end_ns - start_ns;
    match end_ticks.checked_sub(start_ticks) {
        Some(ticks) if ticks > 0 => {
            Cycles { is_tsc: true, ns_per_tick: ratio(ns, ticks), ticks_per_ns: ratio(ticks, ns) }
        }
        // The thread changed to a processor whose counter is behind by milliseconds: not one to
        // rely on.
        _ => FALLBACK,
    }
}

fn ratio(numerator: u64, denominator: u64) -> u64 {
    let ratio = (u128::from(numerator) << FRACTION_BITS) / u128::from(denominator);
    u64::try_from(ratio).unwrap_or(u64::MAX)
}

/// Both clocks at the same moment: of several tries the one that was interrupted least.
fn pair() -> (u64, u64) {
    let try_once = |_| {
        let before = counter::read();
        let ns = monotonic_ns();
        let width = counter::read().saturating_sub(before);
        (width, ns, before + width / 2)
    };
    let (_, ns, ticks) = (0..16).map(try_once).min().unwrap_or_default();
    (ns, ticks)
}

/// The kernel turns to one of these when it has seen the time stamp counter go wrong.
fn kernel_distrusts_counter() -> bool {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    fs::read_to_string(path).is_ok_and(|it| matches!(it.trim(), "hpet" | "acpi_pm" | "jiffies"))
}

#[cfg(target_arch = "x86_64")]
mod counter {
    use std::arch::x86_64::{__cpuid, _rdtsc};

    /// Leaf of cpuid that tells about power management; bit 8 of EDX is the invariant counter.
    const POWER_LEAF: u32 = 0x8000_0007;

    #[inline]
    pub(super) fn read() -> u64 {
        // SAFETY: every x86-64 processor has the instruction, and `is_usable` has been asked before
        // the value is relied on. A process that forbade it to itself (PR_SET_TSC) would be killed
        // by a signal, not continued.
        unsafe { _rdtsc() }
    }

    pub(super) fn is_usable() -> bool {
        let has_leaf = __cpuid(0x8000_0000).eax >= POWER_LEAF;
        has_leaf && __cpuid(POWER_LEAF).edx & (1 << 8) != 0 && !super::kernel_distrusts_counter()
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod counter {
    pub(super) fn read() -> u64 {
        super::monotonic_ns()
    }

    pub(super) fn is_usable() -> bool {
        let _ = super::kernel_distrusts_counter;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_monotonic_clock() {
        let cycles = Cycles::calibrated();
        let (start_ns, start) = (monotonic_ns(), cycles.now());
        std::thread::sleep(std::time::Duration::from_millis(30));
        let (end, end_ns) = (cycles.now(), monotonic_ns());
        let (ours, theirs) = (cycles.ns(end - start) as f64, (end_ns - start_ns) as f64);
        assert!((ours / theirs - 1.0).abs() < 0.01, "{ours} ns against {theirs} ns");
        eprintln!("source {}, {} ticks per 1000 ns", cycles.source(), cycles.ticks(1000));
    }

    #[test]
    fn ticks_and_ns_are_inverse() {
        for ns in [0, 1_000, 1_000_000_000, 86_400_000_000_000] {
            let back = Cycles::calibrated().ns(Cycles::calibrated().ticks(ns));
            assert!(back.abs_diff(ns) <= 2 + ns / 100_000_000, "{ns} became {back}");
        }
    }

    #[test]
    fn fallback_counts_nanoseconds() {
        assert_eq!((FALLBACK.ns(12_345), FALLBACK.ticks(12_345)), (12_345, 12_345));
        assert_eq!(FALLBACK.source(), "clock_gettime");
        let before = monotonic_ns();
        assert!((before..=monotonic_ns() + 1_000_000_000).contains(&FALLBACK.now()));
    }

    #[test]
    fn huge_differences_saturate() {
        assert_eq!(scale(u64::MAX, 2 << FRACTION_BITS), u64::MAX);
    }
}
