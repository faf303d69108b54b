//! Large files: uploaded in parts, so that little of them is in memory, and there under their name at once or not at all, never over
//! another one. Each cloud has its own way.
//!
//! ```text
//! S3     parts of an upload to the name itself, completed if there is no such object (If-None-Match)
//! Azure  blocks of the blob itself, committed if there is no such blob; what is not committed is no blob, and Azure drops it
//! GCS    parts of an upload to a hidden name, copied where no object is, deleted
//! ```

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, IF_NONE_MATCH};
use hyper::{Method, StatusCode};
use object_store::aws::AmazonS3;
use object_store::azure::{AzureAuthorizer, MicrosoftAzure};
use object_store::client::{HttpClient, HttpRequest};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use object_store::{Error, MultipartId, ObjectStore, ObjectStoreExt, PutPayload, Result};
use reqwest::Url;
use serde::Deserialize;

/// Bytes of a part, and of the largest file that is sent by one request.
pub(super) const PART_BYTES: u64 = 8 << 20;

/// Parts that every store takes.
const PARTS_MAX: u64 = 10_000;

/// An address that is signed for one request is good so long.
const SIGNATURE_LIFE: Duration = Duration::from_secs(300);

/// Makes requests. Holds secrets.
pub(super) struct Client {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) large: Large,
    pub(super) http: HttpClient,
}

/// Says how a large file is published.
pub(super) enum Large {
    S3 {
        parts: Arc<AmazonS3>,
        /// Completes an upload if there is no such object.
        creating: Arc<AmazonS3>,
    },
    Azure {
        blocks: Arc<MicrosoftAzure>,
        account: String,
        container: Url,
    },
    /// By way of a hidden name.
    Copied(Arc<dyn MultipartStore>),
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.store)
    }
}

impl Client {
    /// Publishes a file of so many bytes. An upload that fails is ended if the store can be told so.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::Precondition`]: there may be one of that name. Others: it is not known what is there.
    pub(super) async fn upload(&self, file: &mut File, bytes: u64, to: &Path, hidden: &Path) -> Result<()> {
        match &self.large {
            Large::S3 { parts, creating } => {
                let id = parts.create_multipart(to).await?;
                let uploaded = async {
                    let done = send_parts(&**parts, file, bytes, (to, &id)).await?;
                    creating.complete_multipart(to, &id, done).await
                };
                end(uploaded.await.map(|_| ()), &**parts, to, &id).await
            }
            Large::Azure { blocks, .. } => {
                let done = send_parts(&**blocks, file, bytes, (to, &String::new())).await?;
                self.commit_blocks(to, &done).await
            }
            Large::Copied(parts) => {
                let id = parts.create_multipart(hidden).await?;
                let uploaded = async {
                    let done = send_parts(&**parts, file, bytes, (hidden, &id)).await?;
                    parts.complete_multipart(hidden, &id, done).await
                };
                end(uploaded.await.map(|_| ()), &**parts, hidden, &id).await?;
                let copied = self.store.copy_if_not_exists(hidden, to).await;
                let deleted = self.store.delete(hidden).await;
                copied.and(deleted)
            }
        }
    }

    /// Makes a blob of blocks if there is none of that name: Put Block List with a condition, which the crate does not have.
    async fn commit_blocks(&self, to: &Path, blocks: &[PartId]) -> Result<()> {
        let Large::Azure { blocks: azure, account, container } = &self.large else {
            return Err(odd("only Azure has blocks"));
        };
        let mut url = container.clone();
        url.path_segments_mut().map_err(|()| odd("the endpoint has no path"))?.extend(to.parts());
        url.set_query(Some("comp=blocklist"));
        let latest = |part: &PartId| format!("<Latest>{}</Latest>", BASE64_STANDARD.encode(&part.content_id));
        let list: String = blocks.iter().map(latest).collect();
        let body = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{list}</BlockList>");
        let length = HeaderValue::from(body.len());
        let mut request = HttpRequest::new(body.into());
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = url.as_str().parse().map_err(wrong)?;
        request.headers_mut().insert(CONTENT_LENGTH, length);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        request.headers_mut().insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        let credential = azure.credentials().get_credential().await?;
        AzureAuthorizer::new(&credential, account).try_authorize(&mut request)?;
        // Whatever signs, its secret is not to be shown by whoever shows the request.
        request.headers_mut().get_mut(AUTHORIZATION).into_iter().for_each(|value| value.set_sensitive(true));
        self.answer(request, to).await.map(|_| ())
    }

    /// Ends the uploads below a prefix that were never completed, and are ours by their name. Only S3 lists them.
    pub(super) async fn end_uploads(&self, prefix: &Path, is_ours: impl Fn(&str) -> bool) -> Result<()> {
        let Large::S3 { parts, .. } = &self.large else { return Ok(()) };
        let below = if prefix.as_ref().is_empty() { String::new() } else { format!("{prefix}/") };
        let mut markers = [("key-marker", String::new()), ("upload-id-marker", String::new())];
        loop {
            let query = [("uploads", String::new()), ("prefix", below.clone())].into_iter().chain(markers.clone());
            let query = query.filter(|(name, value)| *name == "uploads" || !value.is_empty());
            let options = SignedUrlOptions::default().with_query(query);
            let url = parts.signed_url_opts(Method::GET, &Path::default(), SIGNATURE_LIFE, &options).await?;
            let mut request = HttpRequest::new(String::new().into());
            *request.uri_mut() = url.as_str().parse().map_err(wrong)?;
            let listed = self.answer(request, prefix).await?;
            let listed: Uploads = quick_xml::de::from_str(&listed).map_err(wrong)?;
            for upload in listed.uploads.iter().filter(|upload| is_ours(&upload.key)) {
                match parts.abort_multipart(&Path::parse(&upload.key)?, &upload.upload_id).await {
                    Err(Error::NotFound { .. }) => {}
                    ended => ended?,
                }
            }
            if !listed.is_truncated {
                return Ok(());
            }
            markers[0].1 = listed.next_key_marker;
            markers[1].1 = listed.next_upload_id_marker;
        }
    }

    /// Makes a request of our own and gives the answer's text.
    async fn answer(&self, request: HttpRequest, about: &Path) -> Result<String> {
        let answer = self.http.execute(request).await.map_err(wrong)?;
        let status = answer.status();
        let body = answer.into_body().bytes().await.map_err(wrong)?;
        let body = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() {
            return Ok(body);
        }
        let (path, source) = (about.to_string(), format!("status code: {status}: {body}").into());
        Err(match status {
            StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => Error::Precondition { path, source },
            StatusCode::NOT_FOUND => Error::NotFound { path, source },
            _ => Error::Generic { store: "object", source },
        })
    }
}

/// Is a list of uploads that are not completed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Uploads {
    #[serde(default, rename = "Upload")]
    uploads: Vec<Unfinished>,
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_key_marker: String,
    #[serde(default)]
    next_upload_id_marker: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Unfinished {
    key: String,
    upload_id: String,
}

/// Sends a file in parts, one after the other.
async fn send_parts(
    store: &dyn MultipartStore,
    file: &mut File,
    bytes: u64,
    (to, id): (&Path, &MultipartId),
) -> Result<Vec<PartId>> {
    let part_bytes = PART_BYTES.max(bytes.div_ceil(PARTS_MAX));
    let (mut parts, mut sent) = (Vec::new(), 0);
    while sent < bytes {
        let part = read(file, part_bytes.min(bytes - sent))?;
        sent += part.content_length() as u64;
        parts.push(store.put_part(to, id, parts.len(), part).await?);
    }
    Ok(parts)
}

/// Reads the next so many bytes of a file in the spool.
pub(super) fn read(file: &mut File, bytes: u64) -> Result<PutPayload> {
    let mut part = vec![0; usize::try_from(bytes).map_err(wrong)?];
    file.read_exact(&mut part).map_err(|source| Error::Generic { store: "spool", source: source.into() })?;
    Ok(part.into())
}

/// Ends an upload that has failed. What cannot be ended now is later.
async fn end(uploaded: Result<()>, store: &dyn MultipartStore, to: &Path, id: &MultipartId) -> Result<()> {
    if uploaded.is_err() {
        let _left = store.abort_multipart(to, id).await;
    }
    uploaded
}

fn wrong(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic { store: "object", source: source.into() }
}

fn odd(why: &str) -> Error {
    wrong(why.to_owned())
}
