use super::*;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    "[ -~\n\r\té€\\\\]{0,60}"
}

fn message() -> impl Strategy<Value = GuestMessage> {
    let counts = || prop::collection::vec(any::<u64>(), 0..5);
    let latency = prop::option::of(
        (any::<u64>(), any::<u64>(), prop::collection::vec(any::<(u16, u64)>(), 0..20))
            .prop_map(|(sum_ns, max_ns, cells)| LatencyParts { sum_ns, max_ns, cells }),
    );
    let first = prop::collection::vec(
        any::<[u64; 4]>().prop_map(|[page, offset_bytes, expected, found]| CorruptWord {
            page,
            offset_bytes,
            expected,
            found,
        }),
        0..4,
    );
    let first_writes = prop::option::of(any::<[u64; 4]>().prop_map(
        |[pages_checked, corrupt_pages, checking_ns, began_ns]| FirstWrites {
            pages_checked,
            corrupt_pages,
            checking_ns,
            began_ns,
        },
    ));
    prop_oneof![
        any::<(u16, u32, u64, Option<u64>, bool)>().prop_map(
            |(version, workers, memory_bytes, marker_gpa, pid1)| GuestMessage::Hello {
                version,
                workers,
                memory_bytes,
                marker_gpa,
                pid1
            }
        ),
        (any::<u64>(), any::<bool>(), counts())
            .prop_map(|(at_ns, running, counts)| GuestMessage::State { at_ns, running, counts }),
        (any::<u64>(), counts(), latency.clone(), latency, any::<u64>(), any::<u64>()).prop_map(
            |(at_ns, counts, latency, since_due, gaps_lost, checking_ns)| GuestMessage::Sample {
                at_ns,
                counts,
                latency,
                since_due,
                gaps_lost,
                checking_ns
            }
        ),
        any::<(u32, u64, u64)>().prop_map(|(worker, start_ns, end_ns)| GuestMessage::Gap {
            worker,
            start_ns,
            end_ns
        }),
        any::<(u64, u64)>().prop_map(|(asked_ns, now_ns)| GuestMessage::Pong { asked_ns, now_ns }),
        (any::<(u64, u64, u64)>(), first, first_writes).prop_map(
            |((at_ns, pages_checked, corrupt_pages), first, first_writes)| GuestMessage::Verified {
                at_ns,
                pages_checked,
                corrupt_pages,
                first,
                first_writes
            }
        ),
        text().prop_map(GuestMessage::Fatal),
        Just(GuestMessage::Bye),
    ]
}

/// What a kernel may print, or a broken line may hold.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[ -~]{0,40}\r\n".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|mut bytes| {
            bytes.push(b'\n');
            bytes
        }),
    ]
}

proptest! {
    #[test]
    fn messages_survive_noise_and_any_cutting(
        messages in prop::collection::vec((message(), noise()), 1..8),
        cut in 1usize..50,
    ) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::<GuestMessage>::default());
        let mut bytes = Vec::new();
        for (message, noise) in &messages {
            bytes.extend(encoder.encode(message));
            bytes.extend(noise);
        }
        let found: Vec<GuestMessage> =
            bytes.chunks(cut).flat_map(|part| decoder.push(part)).collect();
        let expected: Vec<GuestMessage> = messages.into_iter().map(|it| it.0).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(decoder.missed(), 0);
    }

    #[test]
    fn a_changed_byte_never_makes_another_message(message in message(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = Encoder::default().encode(&message);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let found = Decoder::<GuestMessage>::default().push(&bytes);
        // The case of a checksum's digit does not matter.
        prop_assert!(found.is_empty() || found == [message]);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut decoder = Decoder::<GuestMessage>::default();
        decoder.push(&bytes);
        decoder.push(b"\n");
        decoder.take_console();
    }
}

#[test]
fn commands_round_trip() {
    let commands = [
        GuestCommand::Hello,
        GuestCommand::Start,
        GuestCommand::Pause,
        GuestCommand::Verify,
        GuestCommand::Resumed { number: 3 },
        GuestCommand::Stop,
        GuestCommand::Ping { ns: u64::MAX },
    ];
    let mut encoder = Encoder::default();
    let bytes: Vec<u8> = commands.iter().flat_map(|it| encoder.encode(it)).collect();
    assert_eq!(Decoder::<GuestCommand>::default().push(&bytes), commands);
    assert_eq!(Decoder::<GuestMessage>::default().push(&bytes), []);
}

#[test]
fn the_line_is_stable() {
    let mut encoder = Encoder::default();
    let line = encoder.encode(&GuestMessage::Sample {
        at_ns: 12,
        counts: vec![3, 4],
        latency: Some(LatencyParts { sum_ns: 9, max_ns: 5, cells: vec![(4, 1), (5, 1)] }),
        since_due: Some(LatencyParts { sum_ns: 8, max_ns: 8, cells: vec![(8, 1)] }),
        gaps_lost: 0,
        checking_ns: 6,
    });
    let text = b"G sample 0 12 0 3,4 9,5,4,1,5,1 6 8,8,8,1";
    let checksum = crc32c(0, text);
    assert_eq!(line, [b"\x1E", &text[..], format!(" {checksum:08x}\n").as_bytes()].concat());
}

#[test]
fn a_sample_of_an_older_agent_is_read_without_what_it_lacks() {
    let line = |body: &str| format!("\x1E{body} {:08x}\n", crc32c(0, body.as_bytes()));
    let bytes = line("G sample 0 12 0 3,4 9,5,4,1,5,1");
    let read = Decoder::<GuestMessage>::default().push(bytes.as_bytes());
    let [GuestMessage::Sample { since_due, checking_ns, latency, .. }] = read.as_slice() else {
        panic!("{read:?}");
    };
    assert_eq!((since_due, *checking_ns, latency.is_some()), (&None, 0, true));
}

#[test]
fn a_line_hit_by_a_kernel_message_is_counted_and_its_words_kept() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::<GuestMessage>::default());
    let hit = encoder.encode(&GuestMessage::Bye);
    let mut bytes = hit[..6].to_vec();
    bytes.extend(b"[    1.0] Kernel panic - not syncing\r\n");
    bytes.extend(&hit[6..]);
    bytes.extend(b"[    1.1] late words ");
    bytes.extend(encoder.encode(&GuestMessage::Bye));
    assert_eq!(decoder.push(&bytes), [GuestMessage::Bye]);
    assert_eq!((decoder.damaged(), decoder.missed()), (1, 1));
    let console = decoder.take_console().join("|");
    assert!(console.contains("Kernel panic - not syncing"), "{console}");
    assert!(console.contains("late words"), "{console}");
}

#[test]
fn newer_kinds_and_fields_are_ignored() {
    let line = |body: &str| format!("\x1E{body} {:08x}\n", crc32c(0, body.as_bytes()));
    let bytes = line("G weather 0 sunny") + &line("G pong 1 2 3 more");
    let mut decoder = Decoder::<GuestMessage>::default();
    let expected = GuestMessage::Pong { asked_ns: 2, now_ns: 3 };
    let older = Decoder::<GuestMessage>::default()
        .push((line("G sample 0 12 0 3 -") + &line("G verified 1 5 6 0 -")).as_bytes());
    let [
        GuestMessage::Sample { checking_ns: 0, .. },
        GuestMessage::Verified { first_writes: None, .. },
    ] = older[..]
    else {
        panic!("an older agent is understood: {older:?}")
    };
    assert_eq!(decoder.push(bytes.as_bytes()), [expected]);
    assert_eq!((decoder.damaged(), decoder.missed()), (0, 0));
}

#[test]
fn endless_garbage_takes_no_endless_memory() {
    let mut decoder = Decoder::<GuestMessage>::default();
    for _ in 0..100 {
        decoder.push(&[b'x'; 4096]);
    }
    assert!(decoder.held_bytes() <= MAX_LINE_BYTES);
    assert_eq!(decoder.push(b"\n"), []);
    assert_eq!(decoder.push(&Encoder::default().encode(&GuestMessage::Bye)), [GuestMessage::Bye]);
}

#[test]
fn a_marker_is_read_back_and_nothing_else_is() {
    let marker = Marker { nonce: 7, beat: 9 };
    let mut page: Vec<u8> = marker.words().iter().flat_map(|it| it.to_le_bytes()).collect();
    assert_eq!(Marker::read(&page), Some(marker));
    assert_eq!(Marker::read(&page[..31]), None);
    page[0] ^= 1;
    assert_eq!(Marker::read(&page), None);
    assert_eq!(Marker::read(&[0; 4096]), None);
}
