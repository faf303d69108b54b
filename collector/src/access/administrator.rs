//! The administrator's token from `access.admin_token_file`. It is read, and kept nowhere else.

use std::path::Path;

use skidway_daemon::secret;
use skidway_wire::access::{BearerToken, Grant, Quotas, Scope, TokenId};

use crate::access::error::OpenError;
use crate::access::grants::ALL;
use crate::access::token::{Kind, Token};

/// Reads it. A file that every user of the machine can read is warned of.
///
/// # Errors
/// [`OpenError::File`], [`OpenError::NoToken`] (halt).
pub fn read(path: &Path) -> Result<(TokenId, Token), OpenError> {
    let text = secret::read(path)?;
    secret::warn_if_exposed("access.admin_token_file", path);
    let shown: BearerToken = text.reveal().parse().map_err(|_| OpenError::NoToken { path: path.to_owned() })?;
    let token = Token {
        name: "admin_token_file".to_owned(),
        kind: Kind::File,
        sha256: secret::sha256(shown.secret()),
        grants: vec![Grant { scope: Scope::Admin, topics: vec![ALL.to_owned()] }],
        agent: None,
        created_ms: 0,
        expires_ms: None,
        uses_left: None,
        joined_by: None,
        quotas: Quotas::default(),
    };
    Ok((shown.id, token))
}
