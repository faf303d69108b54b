//! Which bucket a sink writes to, and by which keys: those of the configuration, or if it has none all that the environment says, as for the
//! cloud's own tools. Secrets come from files; nothing here shows them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{HttpConnector, ReqwestConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{BackoffConfig, Certificate, ClientOptions, HeaderMap, HeaderValue, RetryConfig};
use reqwest::Url;
use skidway_daemon::config::Section;

use super::client::{Client, Large};
use super::trouble::shorten;

/// A connection is there in this time, or the store cannot be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Tries of a request beyond the first, and the time after which there are none. The worker tries again for ever, with growing pauses.
const RETRIES: RetryConfig = RetryConfig {
    backoff: BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(5), base: 2.0 },
    max_retries: 3,
    retry_timeout: Duration::from_secs(60),
};

/// Is a bucket, or a container of Azure, and a prefix in it.
#[derive(Clone)]
pub struct Bucket {
    url: String,
    pub(super) prefix: Path,
    pub(super) client: Arc<Client>,
    /// Holds the secret that is shown to the store.
    pub(in crate::sink::store) secret_file: Option<PathBuf>,
}

/// Says how requests are made.
struct Way {
    options: ClientOptions,
    endpoint: Option<String>,
}

impl Bucket {
    /// Reads what a sink's section says of `scheme://rest`: s3, gs or az. Mistakes are remembered by the document.
    pub(in crate::sink::store) fn from_section(sink: &Section<'_>, scheme: &str, rest: &str) -> Option<Self> {
        // What makes HTTPS clients refuses to without.
        skidway_daemon::tls::use_ring();
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if name.is_empty() {
            sink.mistake("url", format!("names no bucket; write {scheme}://bucket/prefix"));
            return None;
        }
        let prefix = key(&Path::default(), prefix)
            .map_err(|reason| sink.mistake("url", format!("has a prefix that cannot be: {reason}")));
        let section = sink.section(scheme);
        let (client, secret) = match scheme {
            "s3" => (s3(&section, name), "secret_access_key_file"),
            "gs" => (gs(&section, name), "service_account_file"),
            _ => (az(&section, name), "access_key_file"),
        };
        let told = |reason: String| {
            let reason = reason.split_once(" error: ").map_or(reason.as_str(), |(_, reason)| reason);
            sink.mistake(scheme, format!("does not suffice for {scheme}://{name}: {}", shorten(reason)));
        };
        let client = client?.map_err(told).ok()?;
        let prefix = prefix.ok()?;
        let url = format!("{scheme}://{name}/{prefix}").trim_end_matches('/').to_owned();
        Some(Self { url, prefix, client: Arc::new(client), secret_file: section.optional(secret) })
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl PartialEq for Bucket {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url && Arc::ptr_eq(&self.client, &other.client)
    }
}

impl Eq for Bucket {}

/// Gives the key of `path` below a prefix. A slash too many makes no folder, as on a disk.
///
/// # Errors
/// What no key may be, in words.
pub(super) fn key(prefix: &Path, path: &str) -> Result<Path, String> {
    let below: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    Path::parse(format!("{prefix}/{}", below.join("/"))).map_err(|error| shorten(&error.to_string()))
}

/// Gives a client of S3, or what is missing for one; none if there is a mistake of a key.
fn s3(section: &Section<'_>, bucket: &str) -> Option<Result<Client, String>> {
    let way = Way::read(section);
    let region = section.optional::<String>("region");
    let id = section.optional::<String>("access_key_id");
    let secret = read_file(section, "secret_access_key_file");
    let virtual_hosted_style = section.optional::<bool>("virtual_hosted_style");
    let (way, secret) = (way?, secret?);
    let lonely = match (&id, &secret) {
        (Some(_), None) => Some(("access_key_id", "secret_access_key_file")),
        (None, Some(_)) => Some(("secret_access_key_file", "access_key_id")),
        _ => None,
    };
    if let Some((key, missing)) = lonely {
        section.mistake(key, format!("is of no use without {missing}"));
        return None;
    }
    let build = |options: ClientOptions| {
        let builder = if id.is_some() { AmazonS3Builder::new() } else { AmazonS3Builder::from_env() };
        let mut builder = builder.with_bucket_name(bucket).with_retry(RETRIES);
        // Deleting many at once is what compatible stores most often lack, and we delete little.
        builder = builder.with_client_options(options).with_disable_bulk_delete(true);
        if let Some(endpoint) = &way.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = &region {
            builder = builder.with_region(region);
        }
        if let Some(id) = &id {
            builder = builder.with_access_key_id(id);
        }
        if let Some(secret) = &secret {
            builder = builder.with_secret_access_key(secret);
        }
        if let Some(is_so) = virtual_hosted_style {
            builder = builder.with_virtual_hosted_style_request(is_so);
        }
        builder.build().map(Arc::new).map_err(|error| error.to_string())
    };
    // The crate completes uploads without a condition. It signs and sends the headers it is given, though.
    let condition = HeaderMap::from_iter([(hyper::header::IF_NONE_MATCH, HeaderValue::from_static("*"))]);
    let clients = build(way.options.clone())
        .and_then(|parts| Ok((parts, build(way.options.clone().with_default_headers(condition))?)));
    Some(clients.and_then(|(parts, creating)| way.client(parts.clone(), Large::S3 { parts, creating })))
}

/// Gives a client of Google Cloud Storage, as [`s3`] does.
fn gs(section: &Section<'_>, bucket: &str) -> Option<Result<Client, String>> {
    let (way, account) = (Way::read(section), read_file(section, "service_account_file"));
    let (way, account) = (way?, account?);
    let has_key = account.is_some();
    let builder = if has_key { GoogleCloudStorageBuilder::new() } else { GoogleCloudStorageBuilder::from_env() };
    let mut builder = builder.with_bucket_name(bucket).with_retry(RETRIES).with_client_options(way.options.clone());
    if let Some(endpoint) = &way.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    if let Some(account) = account {
        builder = builder.with_service_account_key(account);
    }
    let built = builder.build().map(Arc::new).map_err(|error| error.to_string());
    Some(built.and_then(|built| way.client(built.clone(), Large::Copied(built))))
}

/// Gives a client of Azure Blob Storage, as [`s3`] does.
fn az(section: &Section<'_>, container: &str) -> Option<Result<Client, String>> {
    let way = Way::read(section);
    let account = section.optional::<String>("account");
    let key = read_file(section, "access_key_file");
    let (way, key) = (way?, key?);
    let builder = if key.is_some() { MicrosoftAzureBuilder::new() } else { MicrosoftAzureBuilder::from_env() };
    let mut builder = builder.with_container_name(container).with_retry(RETRIES).with_use_emulator(false);
    builder = builder.with_client_options(way.options.clone());
    let account = account.or_else(|| builder.get_config_value(&AzureConfigKey::AccountName));
    let Some(account) = account else {
        section.mistake("account", "is missing, and the environment does not tell it either");
        return None;
    };
    let endpoint = way.endpoint.clone().or_else(|| builder.get_config_value(&AzureConfigKey::Endpoint));
    let endpoint = endpoint.unwrap_or_else(|| format!("https://{account}.blob.core.windows.net"));
    builder = builder.with_account(&account).with_endpoint(endpoint.clone());
    if let Some(key) = key {
        builder = builder.with_access_key(key);
    }
    let built = builder.build().map(Arc::new).map_err(|error| error.to_string());
    let url = Url::parse(&format!("{}/{container}", endpoint.trim_end_matches('/')));
    let built = built.and_then(|built| Ok((built, url.map_err(|error| error.to_string())?)));
    Some(built.and_then(|(blocks, container)| way.client(blocks.clone(), Large::Azure { blocks, account, container })))
}

impl Way {
    /// Reads what all sections have; none if there is a mistake.
    fn read(section: &Section<'_>) -> Option<Self> {
        let (second, most) = (Duration::from_secs(1), Duration::from_secs(600));
        let timeout = section.within("timeout", Duration::from_secs(60), second..=most);
        let allow_http = section.get("allow_http", false);
        let endpoint = section.optional::<String>("endpoint");
        let mistake = endpoint.as_ref().and_then(|endpoint| match Url::parse(endpoint) {
            Ok(url) if !url.has_host() => Some("names no host; write https://host:port"),
            Ok(url) if url.scheme() == "https" || url.scheme() == "http" && allow_http => None,
            Ok(url) if url.scheme() == "http" => {
                Some("would send records unencrypted; write https://, or allow_http = true if that is meant")
            }
            _ => Some("is not a URL; write https://host:port"),
        });
        if let Some(mistake) = mistake {
            section.mistake("endpoint", mistake);
            return None;
        }
        // A whole request may take as long as its bytes need; it may not stand still.
        let options = ClientOptions::new().with_timeout_disabled().with_read_timeout(timeout);
        let options = options.with_connect_timeout(CONNECT_TIMEOUT.min(timeout)).with_allow_http(allow_http);
        let Some(authorities) = read_file(section, "ca_file")? else { return Some(Self { options, endpoint }) };
        let authorities = Certificate::from_pem_bundle(authorities.as_bytes()).map_err(|error| error.to_string());
        match authorities {
            Ok(all) if !all.is_empty() => {
                let options = all.into_iter().fold(options, ClientOptions::with_root_certificate);
                Some(Self { options, endpoint })
            }
            _ => {
                section.mistake("ca_file", "has no certificate in it (PEM)");
                None
            }
        }
    }

    fn client<S: object_store::ObjectStore>(&self, store: Arc<S>, large: Large) -> Result<Client, String> {
        let http = ReqwestConnector::default().connect(&self.options).map_err(|error| error.to_string())?;
        Ok(Client { store, large, http })
    }
}

/// Reads what is in the file that a key names, a secret perhaps; `Some(None)` if there is no such key, none if there is a mistake.
fn read_file(section: &Section<'_>, key: &str) -> Option<Option<String>> {
    let path: Option<PathBuf> = section.optional(key);
    let Some(path) = path else { return Some(None) };
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => Some(Some(text.trim().to_owned())),
        Ok(_) => {
            section.mistake(key, format!("{} is empty", path.display()));
            None
        }
        Err(error) => {
            section.mistake(key, format!("{} cannot be read: {error}", path.display()));
            None
        }
    }
}
