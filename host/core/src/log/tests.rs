use proptest::prelude::*;

use super::{LogBuffer, LogPiece};

proptest! {
    #[test]
    fn a_log_built_from_the_pieces_of_another_is_equal(
        writes in prop::collection::vec((0_usize..30, any::<bool>()), 0..40),
    ) {
        let (log, copy, mut position, mut next) = (LogBuffer::new(20), LogBuffer::new(20), 0, 0_u8);
        for (length, is_copied) in writes {
            let bytes: Vec<u8> = (0..length).map(|_| { next = next.wrapping_add(1); next }).collect();
            log.write(&bytes);
            if is_copied {
                copy.add(&log.since(position));
                position = log.written();
            }
        }
        copy.add(&log.since(position));
        prop_assert_eq!(copy.snapshot(), log.snapshot());
        prop_assert_eq!(copy.written(), log.written());
    }
}

proptest! {
    #[test]
    fn a_log_of_text_is_text_wherever_it_is_cut(
        writes in prop::collection::vec("[aä€🦀]{0,9}", 0..20),
        capacity in 0_u64..40,
    ) {
        let log = LogBuffer::new(capacity);
        writes.iter().for_each(|text| log.write(text.as_bytes()));
        let snapshot = log.snapshot();
        let text = String::from_utf8(snapshot.bytes).expect("whole characters");
        let whole = writes.concat();
        let (first, last) = text.split_once('\n').unwrap_or((&text, ""));
        let last = last.split_once('\n').map_or(last, |(_, last)| last);
        prop_assert!(whole.starts_with(first) && whole.ends_with(last));
        prop_assert_eq!(snapshot.kept_bytes, (first.len() + last.len()) as u64);
        prop_assert_eq!(snapshot.kept_bytes + snapshot.dropped_bytes, whole.len() as u64);
    }
}

#[test]
fn a_log_within_its_bound_is_kept_whole() {
    let log = LogBuffer::new(10);
    log.write(b"hello");
    log.write(b"world");
    let snapshot = log.snapshot();
    assert_eq!(snapshot.bytes, b"helloworld");
    assert_eq!((snapshot.kept_bytes, snapshot.dropped_bytes), (10, 0));
}

#[test]
fn a_log_over_its_bound_keeps_both_ends_and_counts_the_middle() {
    let log = LogBuffer::new(10);
    for piece in ["abc", "defgh", "ijklmnop", "q", &"x".repeat(100), "vwxyz"] {
        log.write(piece.as_bytes());
    }
    let snapshot = log.snapshot();
    assert!(snapshot.bytes.starts_with(b"abcde\n["), "{snapshot:?}");
    assert!(snapshot.bytes.ends_with(b"]\nvwxyz"), "{snapshot:?}");
    assert_eq!((snapshot.kept_bytes, snapshot.dropped_bytes), (10, 112));
    assert_eq!(log.written(), 122);
}

#[test]
fn impossible_counts_stop_at_the_maximum() {
    let log = LogBuffer::new(10);
    let piece = LogPiece { first: "abc".into(), dropped: u64::MAX, last: "def".into() };
    for _ in 0..2 {
        log.add(&piece);
    }
    assert_eq!(log.written(), i64::MAX.cast_unsigned());
    let snapshot = log.snapshot();
    assert_eq!(snapshot.dropped_bytes + snapshot.kept_bytes, log.written());
    assert!(snapshot.kept_bytes <= 10, "{snapshot:?}");
    log.write(b"more");
    assert!(log.since(0).last.ends_with(b"more"));
}

#[test]
fn a_snapshot_of_a_log_in_progress_ends_with_a_whole_character() {
    for (written, taken) in
        [(&b"z\xc3"[..], &b"z"[..]), (b"\xe2\x82", b""), ("zä".as_bytes(), "zä".as_bytes())]
    {
        let log = LogBuffer::new(100);
        log.write(written);
        let so_far = log.snapshot().so_far();
        assert_eq!((&so_far.bytes[..], so_far.kept_bytes), (taken, taken.len() as u64));
        assert_eq!(log.snapshot().bytes, written, "the rest may come");
    }
}
