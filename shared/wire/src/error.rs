//! What can be wrong with a frame of the agents' protocol.

/// Tells why bytes are not a frame. The fate is reject: the sender is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes do not start with `SKWY`.
    #[error("not a frame of the agents' protocol")]
    Magic,
    /// A version that this build does not speak; answered 426.
    #[error("protocol version {found} is not supported, this build speaks {supported}")]
    Version {
        /// From the frame.
        found: u8,
        /// Ours.
        supported: u8,
    },
    /// Another kind of frame than the one expected here.
    #[error("frame is of kind {found}, expected {expected}")]
    Kind {
        /// From the frame.
        found: u8,
        /// What belongs here.
        expected: u8,
    },
    /// The frame ends in the middle of a field.
    #[error("frame is cut short in {0}")]
    CutShort(&'static str),
    /// A field's value is impossible.
    #[error("field {field} is not valid: {reason}")]
    Field {
        /// Which field.
        field: &'static str,
        /// Why.
        reason: String,
    },
    /// There are bytes after the last field.
    #[error("frame has {0} bytes after its end")]
    Trailing(usize),
}

impl WireError {
    pub(crate) fn field(field: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Field { field, reason: reason.to_string() }
    }
}
