//! The bounds every batch and record keeps, whoever made it.

/// Bounds the bytes of one encoded (compressed) batch, header included: 1 MiB and a little for framing.
///
/// Agents close a batch at 1 MiB of *lines*; incompressible lines with headers may exceed 1 MiB once framed, so
/// the bound accepted on the wire leaves room for the record framing of a single line of the maximal length.
pub const BATCH_BYTES_MAX: usize = 2 << 20;

/// Bounds the bytes one batch may decompress to. A batch that claims more is refused before it is inflated further.
pub const DECOMPRESSED_BYTES_MAX: usize = 16 << 20;

/// Bounds the line bytes an agent collects before it closes a batch: 1 MiB.
pub const LINE_BYTES_PER_BATCH: usize = 1 << 20;

/// Bounds a topic's name, in bytes, as in Kafka.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Bounds an agent id, in bytes.
pub const AGENT_ID_BYTES_MAX: usize = 128;

/// Bounds the number of partitions of a topic.
pub const PARTITIONS_MAX: u32 = 1000;
