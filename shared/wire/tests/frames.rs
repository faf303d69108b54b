//! Every frame comes back as it went out; a cut, damaged or foreign one is refused and never panics.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use skidway_record::source::{FINGERPRINT_BYTES_MAX, Fingerprint, NewSource, Partitioning, PhysicalId, StoredSource};
use skidway_record::{AgentId, LogId, SourceId, TopicName};
use skidway_wire::codec::{VERSION, VERSION_MIN, in_version, version_of};
use skidway_wire::{
    CommitAnswer, CommitRequest, Item, ItemResult, OpenSession, SessionOpened, SourcePage, SpanKind, WireError,
};

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=max).prop_map(Bytes::from)
}

fn text() -> impl Strategy<Value = String> {
    "[a-z0-9é /\"\\n-]{0,24}"
}

fn agent() -> impl Strategy<Value = AgentId> {
    "[A-Za-z0-9._:-]{1,40}".prop_map(|id| AgentId::new(&id).unwrap())
}

fn source_id() -> impl Strategy<Value = SourceId> {
    any::<[u8; 16]>().prop_map(SourceId)
}

fn fingerprint() -> impl Strategy<Value = Fingerprint> {
    (0..=FINGERPRINT_BYTES_MAX, any::<[u8; 16]>()).prop_map(|(len, hash)| Fingerprint { len, hash })
}

fn physical() -> impl Strategy<Value = PhysicalId> {
    any::<[u64; 4]>().prop_map(|[device, inode, generation, birth_ns]| PhysicalId {
        device,
        inode,
        generation,
        birth_ns,
    })
}

fn partitioning() -> impl Strategy<Value = Partitioning> {
    prop_oneof![Just(Partitioning::File), Just(Partitioning::RoundRobin), bytes(64).prop_map(Partitioning::Key)]
}

fn new_source() -> impl Strategy<Value = NewSource> {
    let topic = "[A-Za-z0-9_-]{1,30}".prop_map(|name| TopicName::new(&name).unwrap());
    let names = (source_id(), text(), topic, option::of(source_id()));
    (names, partitioning(), physical(), fingerprint(), bytes(80)).prop_map(
        |((id, input, topic, supersedes), partitioning, physical, head, path)| NewSource {
            id,
            input,
            topic,
            partitioning,
            physical,
            supersedes,
            head,
            path,
        },
    )
}

fn stored_source() -> impl Strategy<Value = StoredSource> {
    let place = (option::of(any::<u32>()), any::<u64>(), bytes(100), option::of(any::<i64>()));
    (new_source(), agent(), place, fingerprint()).prop_map(
        |(source, agent, (partition, position, carry, gone_at_ms), anchor)| StoredSource {
            source,
            agent,
            partition,
            position,
            carry,
            anchor,
            gone_at_ms,
        },
    )
}

fn span_item() -> impl Strategy<Value = Item> {
    let kind = prop_oneof![
        Just(SpanKind::Read),
        Just(SpanKind::Skipped),
        (text(), any::<bool>()).prop_map(|(reason, exact)| SpanKind::Lost { reason, exact }),
    ];
    let span = (any::<u64>(), any::<u64>()).prop_map(|(a, b)| a.min(b)..a.max(b));
    let prints = (fingerprint(), fingerprint());
    let carries = (option::of(bytes(40)), bytes(100));
    let batches = (vec(bytes(60), 0..=16), vec(bytes(20), 0..3));
    (source_id(), span, kind, carries, prints, option::of(bytes(50)), batches).prop_map(
        |(source, span, kind, (expected_carry, carry), (head, anchor), path, (batches, dead))| Item::Span {
            source,
            span,
            kind,
            expected_carry,
            carry,
            head,
            anchor,
            path,
            batches,
            dead,
        },
    )
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        new_source().prop_map(Item::Create),
        span_item(),
        (source_id(), physical(), bytes(80)).prop_map(|(source, physical, path)| Item::Rebind {
            source,
            physical,
            path
        }),
        (source_id(), any::<u64>(), bytes(80), source_id()).prop_map(|(from, position, carry, to)| Item::HandOver {
            from,
            position,
            carry,
            to
        }),
        source_id().prop_map(|source| Item::Gone { source }),
        text().prop_map(|input| Item::Opened { input }),
    ]
}

fn item_result() -> impl Strategy<Value = ItemResult> {
    prop_oneof![
        Just(ItemResult::Accepted),
        Just(ItemResult::UnknownSource),
        (any::<u64>(), bytes(100)).prop_map(|(position, carry)| ItemResult::Conflict { position, carry }),
        source_id().prop_map(|source| ItemResult::Exists { source }),
        (option::of(any::<u32>()), any::<u32>(), text()).prop_map(|(batch, status, reason)| ItemResult::Rejected {
            batch,
            status,
            reason
        }),
    ]
}

fn commit_request() -> impl Strategy<Value = CommitRequest> {
    (agent(), any::<[u8; 16]>(), any::<[u64; 4]>(), vec(item(), 0..6)).prop_map(|(agent, log_id, numbers, items)| {
        let [epoch, log_epoch, bytes_behind, oldest_unacknowledged_ms] = numbers;
        CommitRequest { agent, epoch, log_id: LogId(log_id), log_epoch, bytes_behind, oldest_unacknowledged_ms, items }
    })
}

fn open_session() -> impl Strategy<Value = OpenSession> {
    let fields = (text(), text(), text(), any::<u64>());
    fields.prop_map(|(machine_id, host, version, follows)| OpenSession {
        machine_id,
        host,
        version,
        follows: Some(follows),
    })
}

fn session_opened() -> impl Strategy<Value = SessionOpened> {
    (any::<u64>(), any::<[u8; 16]>(), any::<u64>(), vec(text(), 0..5)).prop_map(
        |(epoch, log_id, log_epoch, opened_inputs)| SessionOpened {
            epoch,
            log_id: LogId(log_id),
            log_epoch,
            opened_inputs,
        },
    )
}

fn source_page() -> impl Strategy<Value = SourcePage> {
    (vec(stored_source(), 0..4), option::of(source_id())).prop_map(|(sources, next)| SourcePage { sources, next })
}

/// Checks one frame: whole it is the value; cut anywhere, lengthened, of another version or kind it is refused.
fn check<T: PartialEq + std::fmt::Debug>(value: &T, frame: &Bytes, decode: impl Fn(Bytes) -> Result<T, WireError>) {
    assert_eq!(decode(frame.clone()).as_ref(), Ok(value));
    for len in 0..frame.len() {
        let cut = decode(frame.slice(..len));
        assert!(matches!(cut, Err(WireError::Magic | WireError::CutShort(_))), "cut at {len}: {cut:?}");
    }
    let longer = Bytes::from([frame, &b"x"[..]].concat());
    assert_eq!(decode(longer), Err(WireError::Trailing(1)));
    let with = |at: usize, byte: u8| {
        let mut bytes = frame.to_vec();
        bytes[at] = byte;
        decode(Bytes::from(bytes))
    };
    assert_eq!(with(0, b'X'), Err(WireError::Magic));
    for found in [0, 4] {
        assert_eq!(with(4, found), Err(WireError::Version { found, supported: 3 }));
    }
    assert!(matches!(with(5, 0xee), Err(WireError::Kind { found: 0xee, .. })));
}

/// Reads `bytes` as every kind of frame; only its not panicking counts.
fn read_as_everything(bytes: &Bytes) {
    let _ = OpenSession::decode(bytes.clone());
    let _ = SessionOpened::decode(bytes.clone());
    let _ = CommitRequest::decode(bytes.clone());
    let _ = CommitAnswer::decode(bytes.clone());
    let _ = SourcePage::decode(bytes.clone());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn open_session_round_trips(value in open_session()) {
        check(&value, &value.encode(), OpenSession::decode);
    }

    #[test]
    fn session_opened_round_trips(value in session_opened()) {
        check(&value, &value.encode(), SessionOpened::decode);
    }

    #[test]
    fn commit_request_round_trips(value in commit_request()) {
        check(&value, &value.encode(), CommitRequest::decode);
    }

    #[test]
    fn commit_answer_round_trips(results in vec(item_result(), 0..8)) {
        let value = CommitAnswer { results };
        check(&value, &value.encode(), CommitAnswer::decode);
    }

    #[test]
    fn source_page_round_trips(value in source_page()) {
        check(&value, &value.encode(), SourcePage::decode);
    }

    #[test]
    fn damaged_frames_never_panic(value in commit_request(), page in source_page(), at: prop::sample::Index, byte: u8) {
        for frame in [value.encode(), page.encode()] {
            let mut bytes = frame.to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            read_as_everything(&Bytes::from(bytes));
        }
    }

    #[test]
    fn arbitrary_fields_never_panic(kind in 0..8_u8, fields in vec(any::<u8>(), 0..200)) {
        read_as_everything(&Bytes::from([b"SKWY\x03", &[kind][..], &fields].concat()));
    }
}

#[test]
fn answers_take_the_number_of_the_protocol_asked_in_and_are_read() {
    let value = CommitAnswer { results: vec![ItemResult::Accepted, ItemResult::UnknownSource] };
    for version in VERSION_MIN..=VERSION {
        let frame = in_version(value.encode(), version);
        assert_eq!(version_of(&frame), version);
        assert_eq!(CommitAnswer::decode(frame), Ok(value.clone()));
    }
}

#[test]
fn an_opening_of_version_1_follows_whichever_session_is_the_newest() {
    let open = OpenSession { machine_id: "m".into(), host: "h".into(), version: "v".into(), follows: Some(7) };
    let newer = open.encode();
    let older = in_version(newer.slice(..newer.len() - 8), 1);
    assert_eq!(OpenSession::decode(older), Ok(OpenSession { follows: None, ..open }));
}

#[test]
fn a_span_that_ends_before_it_starts_is_refused() {
    let item = Item::Span {
        source: SourceId([1; 16]),
        span: std::ops::Range { start: 9, end: 8 },
        kind: SpanKind::Read,
        expected_carry: None,
        carry: Bytes::new(),
        head: Fingerprint::default(),
        anchor: Fingerprint::default(),
        path: None,
        batches: Vec::new(),
        dead: Vec::new(),
    };
    assert!(matches!(decode_request_of(item), Err(WireError::Field { field: "span", .. })));
}

#[test]
fn a_carry_past_its_bound_is_refused() {
    let (item, carry) = (ItemResult::Conflict { position: 0, carry: Bytes::from(vec![0; (64 << 10) + 1]) }, "carry");
    let refused = CommitAnswer::decode(CommitAnswer { results: vec![item] }.encode());
    assert!(matches!(refused, Err(WireError::Field { field, .. }) if field == carry));
}

#[test]
fn a_count_without_its_items_costs_no_memory() {
    let frame = Bytes::from_static(b"SKWY\x03\x04\x10\x27\0\0");
    assert_eq!(CommitAnswer::decode(frame), Err(WireError::CutShort("result")));
    let frame = Bytes::from_static(b"SKWY\x03\x04\xff\xff\xff\xff");
    assert!(matches!(CommitAnswer::decode(frame), Err(WireError::Field { field: "results", .. })));
}

fn decode_request_of(item: Item) -> Result<CommitRequest, WireError> {
    let request = CommitRequest {
        agent: AgentId::new("a").unwrap(),
        epoch: 1,
        log_id: LogId([0; 16]),
        log_epoch: 1,
        bytes_behind: 0,
        oldest_unacknowledged_ms: 0,
        items: vec![item],
    };
    CommitRequest::decode(request.encode())
}
