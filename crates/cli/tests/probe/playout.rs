//! Pictures that stand still.

use std::time::Duration;

use crate::harness::{Responder, Running, assert_lasted, long_outages, number};

const STOPPED: Duration = Duration::from_millis(600);

#[test]
fn a_source_that_is_stopped_freezes_the_picture_for_as_long() {
    let responder = Responder::start();
    let mut running = Running::start(&["playout", &responder.address, "--frames-per-second", "50"]);
    for _ in 0..2 {
        responder.stop_for(STOPPED);
        assert_lasted(&running.wait_for_outage(STOPPED), STOPPED);
    }
    let (code, report) = running.end();
    assert_eq!(code, Some(0));
    let seen = &report["probes"][0];
    let freezes = long_outages(seen, STOPPED);
    assert_eq!(freezes.len(), 2, "{seen:#}");
    for freeze in freezes {
        // A camera takes no pictures while its machine is stopped: 30 in this time.
        assert!(number(&freeze, "/lost") > 15.0, "{freeze:#}");
    }
    let picture = &seen["playout"];
    assert_eq!(
        (number(picture, "/frames_per_second"), number(picture, "/buffer_seconds")),
        (50.0, 0.1)
    );
    assert!(number(picture, "/freezes") >= 2.0, "{picture:#}");
    assert!(number(picture, "/frozen_seconds") > 1.4 * STOPPED.as_secs_f64(), "{picture:#}");
    let (longest, told) =
        (number(picture, "/longest_freeze_seconds"), number(seen, "/longest_outage_seconds"));
    assert_eq!(longest, told, "{seen:#}");
    assert!(number(seen, "/lost") > 30.0, "{seen:#}");
}
