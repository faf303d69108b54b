//! Records and what is asked of them, as the description shows them: what `query`, `json` and `produce_body` read and write by hand.
#![expect(dead_code, reason = "these types describe; nothing makes one")]

use std::collections::BTreeMap;

use skidway_wire::Gone;
use skidway_wire::groups::{GroupAssignment, GroupGap};
use utoipa::openapi::schema::{OneOfBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{IntoParams, PartialSchema, ToSchema};

/// Holds the parameters of every URL that gives records. Pages heed what streams do not, and the other way round.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::listen::http) struct ReadParams {
    /// Only this partition; all by default.
    partition: Option<u32>,
    /// Where to start: `earliest`, `latest`, a token, an RFC 3339 time, or `-N` (N records of each partition before its end). By default
    /// `latest` for streams that follow, else `earliest`.
    from: Option<String>,
    /// Offset to start at; only together with `partition`, not with `from`.
    offset: Option<u64>,
    /// Ends a page or stream after so many records; of a page 500 by default, 10,000 at most.
    #[param(minimum = 1)]
    max_records: Option<u64>,
    /// Ends a page or stream after so many bytes, such as `64KiB`; of a page 1MiB by default, 16MiB at most.
    #[param(pattern = "^\\s*[0-9]+\\s*[A-Za-z]*\\s*$")]
    max_bytes: Option<String>,
    /// How long a page waits for its first record, such as `5s`; `0s` by default, 5 minutes at most.
    #[param(pattern = "^\\s*[0-9]+\\s*(ms|s|m|h|d)\\s*$")]
    wait: Option<String>,
    /// Whether a stream goes on past the head; true by default.
    follow: Option<bool>,
    /// Whether records that are damaged on disk are passed over, and told of; false by default.
    skip_damaged: Option<bool>,
    /// Whether each NDJSON record carries a token, `next`; false by default.
    tokens: Option<bool>,
    /// `json`: values that are JSON are shown as JSON.
    #[param(pattern = "^json$")]
    decode: Option<String>,
    /// Of a page: bytes to wait for, up to `wait`.
    #[param(pattern = "^\\s*[0-9]+\\s*[A-Za-z]*\\s*$")]
    min_bytes: Option<String>,
    /// Lets only records pass of which this is true: `value.contains("x") && headers.host == "web-1"`.
    filter: Option<String>,
}

/// Names the topics that are read together.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::listen::http) struct TopicsParam {
    /// Names and patterns (`*` and `?`), separated by commas. Of a pattern there need not be any yet; our own (`__…`) topics are read if named.
    topics: String,
}

/// Is a page of records of many topics.
#[derive(ToSchema)]
pub(in crate::listen::http) struct ManyPage {
    /// Empty only at the head.
    records: Vec<Record>,
    /// Token of the place after them.
    next: String,
    /// Records that were passed over because they cannot be read any more (`skip_damaged`).
    #[schema(nullable = false)]
    damaged: Option<Vec<Damage>>,
    /// Topics that were deleted since.
    #[schema(nullable = false)]
    gone: Option<Vec<Gone>>,
}

/// Holds what a member asks for beside what every reader does.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::listen::http) struct MemberParams {
    /// Names and patterns (`*` and `?`), separated by commas; required to join.
    topics: Option<String>,
    /// What the client calls itself; its address by default.
    #[param(max_length = 255)]
    client: Option<String>,
    /// How long the member may be silent: `30s` by default, `1s` to `30m`.
    #[param(pattern = "^\\s*[0-9]+\\s*(ms|s|m|h|d)\\s*$")]
    session_timeout: Option<String>,
    /// Of pages: what the page before gave as `member`.
    #[param(pattern = "^m[0-9a-f]{16}\\.[0-9]{1,9}$")]
    member: Option<String>,
    /// Of pages: `next` commits what the page before gave.
    #[param(pattern = "^next$")]
    commit: Option<String>,
}

/// Is a page of a member's records.
#[derive(ToSchema)]
pub(in crate::listen::http) struct GroupPage {
    /// Empty if nothing came in time.
    records: Vec<Record>,
    /// Token of the place after them, to commit.
    next: String,
    /// To be sent back as `member=`.
    member: String,
    /// Counts the changes of who has what.
    generation: u64,
    /// What the member has, if that is new.
    #[schema(nullable = false)]
    assignment: Option<GroupAssignment>,
    /// Records that were deleted before the group read them.
    #[schema(nullable = false)]
    gaps: Option<Vec<GroupGap>>,
    /// Records that were passed over because they cannot be read any more (`skip_damaged`).
    #[schema(nullable = false)]
    damaged: Option<Vec<Damage>>,
    /// Topics that were deleted since.
    #[schema(nullable = false)]
    gone: Option<Vec<Gone>>,
}

/// Holds the parameters of a table.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::listen::http) struct TableParams {
    /// Only this key; the answer is a record then.
    key: Option<String>,
    /// The same for a key that is not UTF-8.
    #[param(pattern = "^[A-Za-z0-9+/]*={0,2}$")]
    key_base64: Option<String>,
    /// Only keys that begin so.
    prefix: Option<String>,
    /// Where to go on: `next` of the page, or id of the event, before.
    from: Option<String>,
    /// Only this partition; all by default.
    partition: Option<u32>,
    /// Ends a page after so many records; 500 by default.
    #[param(minimum = 1, maximum = 10_000)]
    max_records: Option<u64>,
    /// Ends a page after so many bytes; 1MiB by default.
    #[param(pattern = "^\\s*[0-9]+\\s*[A-Za-z]*\\s*$")]
    max_bytes: Option<String>,
    /// Whether a stream goes on past the watermark; true by default.
    follow: Option<bool>,
    /// Whether records that are damaged on disk are passed over; false by default.
    skip_damaged: Option<bool>,
    /// `json`: values that are JSON are shown as JSON.
    #[param(pattern = "^json$")]
    decode: Option<String>,
}

/// Is a page of a table.
#[derive(ToSchema)]
pub(in crate::listen::http) struct TablePage {
    /// The latest record of each key, those without value left out.
    records: Vec<Record>,
    /// By partition, the first offset that does not count any more.
    watermark: BTreeMap<String, u64>,
    /// Whether the table is at its end.
    end: bool,
    /// Where to go on: in the table (`/table?from=`), at its end in the topic (`/records?from=`).
    next: String,
}

/// Is what a table answers: a page, or with `key` that key's record.
pub(in crate::listen::http) struct TableAnswer;

impl PartialSchema for TableAnswer {
    fn schema() -> RefOr<Schema> {
        let either = [TablePage::name(), Record::name()].map(Ref::from_schema_name);
        let one_of = either.into_iter().fold(OneOfBuilder::new(), OneOfBuilder::item);
        RefOr::T(Schema::OneOf(one_of.build()))
    }
}

impl ToSchema for TableAnswer {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.extend([
            (TablePage::name().into_owned(), TablePage::schema()),
            (Record::name().into_owned(), Record::schema()),
        ]);
        TablePage::schemas(schemas);
        Record::schemas(schemas);
    }
}

/// Is a page of records.
#[derive(ToSchema)]
pub(in crate::listen::http) struct RecordPage {
    /// Empty only at the head.
    records: Vec<Record>,
    /// Token of the place after them.
    next: String,
    /// Records that were passed over because they cannot be read any more (`skip_damaged`).
    #[schema(nullable = false)]
    damaged: Option<Vec<Damage>>,
}

/// Is a record.
#[derive(ToSchema)]
pub(in crate::listen::http) struct Record {
    /// Its topic.
    topic: String,
    /// Its partition.
    partition: u32,
    /// Its offset.
    offset: u64,
    /// RFC 3339, UTC, milliseconds.
    timestamp: String,
    /// If it is UTF-8; null if there is none.
    key: Option<String>,
    /// If it is not UTF-8.
    #[schema(nullable = false)]
    key_base64: Option<String>,
    /// Text; an array if repeated; `{"base64":…}` if binary.
    headers: BTreeMap<String, serde_json::Value>,
    /// If it is UTF-8; null for a tombstone. With `decode=json` any JSON.
    value: Option<serde_json::Value>,
    /// If it is not UTF-8.
    #[schema(nullable = false)]
    value_base64: Option<String>,
}

/// Is what a queue gave away.
#[derive(ToSchema)]
pub(in crate::listen::http) struct Received {
    /// None if nothing came in time.
    messages: Vec<QueueMessage>,
}

/// Is a record that was given away.
#[derive(ToSchema)]
struct QueueMessage {
    /// Names this delivery, to acknowledge it, give it back or keep it longer.
    receipt: String,
    /// How often the record was given away, this time included.
    deliveries: u32,
    /// Until when nobody else gets it; RFC 3339.
    lease_until: String,
    /// Its topic.
    topic: String,
    /// Its partition.
    partition: u32,
    /// Its offset.
    offset: u64,
    /// RFC 3339, UTC, milliseconds.
    timestamp: String,
    /// If it is UTF-8; null if there is none.
    key: Option<String>,
    /// If it is not UTF-8.
    #[schema(nullable = false)]
    key_base64: Option<String>,
    /// Text; an array if repeated; `{"base64":…}` if binary.
    headers: BTreeMap<String, serde_json::Value>,
    /// If it is UTF-8; null for a tombstone.
    value: Option<String>,
    /// If it is not UTF-8.
    #[schema(nullable = false)]
    value_base64: Option<String>,
}

/// Is a run of records that cannot be read any more.
#[derive(ToSchema)]
pub(in crate::listen::http) struct Damage {
    /// Their partition.
    partition: u32,
    /// First offset.
    offset: u64,
    /// Next offset that can be read.
    next_offset: u64,
    /// The damaged file.
    #[schema(nullable = false)]
    file: Option<String>,
    /// Place in it, in bytes.
    #[schema(nullable = false)]
    position: Option<u64>,
    /// What was found.
    reason: String,
}

/// Is what a producer sends as JSON.
#[derive(ToSchema)]
pub(in crate::listen::http) struct ProduceBody {
    /// At least one.
    #[schema(min_items = 1)]
    records: Vec<NewRecord>,
}

/// Is a record to be stored.
#[derive(ToSchema)]
pub(in crate::listen::http) struct NewRecord {
    /// Finds the partition unless one is named.
    key: Option<String>,
    /// Null for a tombstone.
    #[schema(required = true)]
    value: Option<String>,
    /// By name: text, null, `{"base64":…}`, or an array of these.
    headers: Option<BTreeMap<String, NewHeader>>,
    /// RFC 3339, or milliseconds since 1970; now by default.
    #[schema(minimum = 0, maximum = 253_402_207_200_999_i64)]
    timestamp: Option<i64>,
}

/// Is a header's value, or those of one that is repeated.
#[derive(ToSchema, serde::Serialize)]
#[serde(untagged)]
enum NewHeader {
    /// Once.
    One(NewHeaderValue),
    /// Several times.
    Several(Vec<NewHeaderValue>),
}

/// Is one value of a header.
#[derive(ToSchema, serde::Serialize)]
#[serde(untagged)]
enum NewHeaderValue {
    /// Text, or null.
    Text(Option<String>),
    /// Bytes.
    Binary {
        /// Of them.
        #[schema(pattern = "^[A-Za-z0-9+/]*={0,2}$")]
        base64: String,
    },
}
