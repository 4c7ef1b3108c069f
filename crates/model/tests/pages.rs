//! The closed forms against a migration that is followed page by page.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::sync::Arc;

use sterna_converge::{Action, Policy};
use sterna_model::{
    Content, DirtyProcess, Flight, Guest, Host, Link, Plan, Rearm, Region, Rules, Settings,
};
use sterna_scenario::Scenario;

const PAGES: usize = 20_000;
const RATE: u64 = 20_000_000;

/// Passes of a guest that is synchronised whenever a tenth of its pages is left, page by page: how many were found by each synchronisation.
fn page_by_page(mut writes: impl FnMut(f64) -> Vec<usize>, syncs: usize) -> Vec<f64> {
    let mut pending = vec![true; PAGES];
    let mut log = vec![false; PAGES];
    let (mut left, mut cursor, mut found) = (PAGES, 0, Vec::new());
    let step = 0.001;
    let mut budget = 0.0;
    while found.len() < syncs {
        budget += step * RATE as f64 / 4096.0;
        while budget >= 1.0 && left > PAGES / 10 {
            while !pending[cursor] {
                cursor = (cursor + 1) % PAGES;
            }
            pending[cursor] = false;
            left -= 1;
            budget -= 1.0;
        }
        writes(step).into_iter().for_each(|page| log[page] = true);
        if left <= PAGES / 10 {
            found.push(log.iter().filter(|it| **it).count() as f64);
            for page in 0..PAGES {
                left += usize::from(log[page] && !pending[page]);
                pending[page] |= std::mem::take(&mut log[page]);
            }
        }
    }
    found
}

fn modelled(region: Region, syncs: usize) -> Vec<f64> {
    let threshold = (PAGES / 10) as f64 * 4096.0;
    let plan = Plan {
        guest: Guest {
            vcpus: 1,
            dirty: DirtyProcess { regions: vec![region], ..DirtyProcess::default() },
        },
        link: Link { bytes_per_second: None, latency_ns: 0 },
        host: Host {
            setup_ns: 0,
            sync_ns_per_gib: 0,
            send_bytes_per_second: 1e12,
            ..Host::emulator()
        },
        rules: Rules {
            check_ns: 1_000_000,
            sync_spacing_ns: 0,
            page_overhead_bytes: 0.0,
            ..Rules::EMULATOR
        },
        settings: Settings {
            max_bytes_per_second: Some(RATE),
            downtime_limit_ns: (threshold / RATE as f64 * 1e9) as u64,
            hold_passes: 1_000,
            ..Settings::default()
        },
    };
    let mut flight = Flight::new(Arc::new(plan));
    while flight.outcome().syncs < syncs as u64 + 1 {
        let next_ns = flight.next_change_ns().unwrap();
        flight.advance(next_ns);
    }
    let rows = &flight.outcome().passes;
    let mut found: Vec<f64> = rows[1..].iter().map(|it| it.dirty_pages).collect();
    // The pass under way began with the last synchronisation; end it, to see what that found.
    flight.act(Action::Cancel).unwrap();
    found.truncate(syncs - 1);
    found
}

#[test]
fn random_writes_are_found_as_often_as_page_by_page() {
    let writes_per_second = 6_000.0;
    let mut state = 12345u64;
    let mut owed = 0.0;
    let draws = |step: f64| {
        owed += writes_per_second * step;
        let count = owed as usize;
        owed -= count as f64;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % PAGES
        };
        (0..count).map(|_| draw()).collect()
    };
    let real = page_by_page(draws, 6);
    let bytes = PAGES as u64 * 4096;
    let rate = writes_per_second / PAGES as f64;
    let region = Region::random(bytes, vec![1.0], vec![rate], Content::INCOMPRESSIBLE);
    near(&modelled(region, 6), &real);
}

#[test]
fn a_sweep_is_found_as_page_by_page() {
    for pages_per_second in [900.0, 4_000.0, 30_000.0] {
        let mut passed = 0.0;
        let sweep = |step: f64| {
            let from = passed as usize;
            passed += pages_per_second * step;
            (from..passed as usize).map(|it| it % PAGES).collect()
        };
        let real = page_by_page(sweep, 8);
        let bytes = PAGES as u64 * 4096;
        let rate = (pages_per_second * 4096.0) as u64;
        near(&modelled(Region::swept(bytes, rate, Content::INCOMPRESSIBLE), 8), &real);
    }
}

fn near(modelled: &[f64], real: &[f64]) {
    for (modelled_pages, real_pages) in modelled.iter().zip(real) {
        let error = (modelled_pages - real_pages).abs();
        assert!(error < 30.0 + real_pages * 0.02, "{modelled:.0?} for {real:.0?}");
    }
}

#[test]
fn chunks_that_are_watched_late_find_less_of_a_first_pass() {
    let bytes = 8u64 << 30;
    let region = Region::random(bytes, vec![1.0], vec![0.02], Content::INCOMPRESSIBLE);
    let found = |rearm| {
        let plan = Plan {
            guest: Guest {
                vcpus: 1,
                dirty: DirtyProcess { regions: vec![region.clone()], ..DirtyProcess::default() },
            },
            link: Link { bytes_per_second: None, latency_ns: 0 },
            host: Host { setup_ns: 0, sync_ns_per_gib: 0, ..Host::qemu_kvm() },
            rules: Rules { rearm, ..Rules::QEMU_10_KVM },
            settings: Settings { max_bytes_per_second: Some(200_000_000), ..Settings::default() },
        };
        let scenario = Scenario::from_toml("[limits]\nmax-passes = 2", "limits").unwrap();
        let outcome = sterna_model::fly(&Arc::new(plan), Policy::new(&scenario));
        outcome.passes[1].dirty_pages * 4096.0 / bytes as f64
    };
    // A first pass of 43 s: a page is watched for all of it, or for half of it on average.
    let (whole, late) = (found(Rearm::Sync), found(Rearm::Chunk { bytes: 1 << 30 }));
    assert!((whole - 0.576).abs() < 0.01, "{whole}");
    assert!((0.31..0.37).contains(&late), "{late}");
}
