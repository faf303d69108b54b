//! Who a client's certificate says it is.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// No host name is longer (RFC 1035).
const NAME_BYTES_MAX: usize = 253;

/// Gives the first DNS name of the certificate, or else its common name; `None` if it has neither.
pub(super) fn name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let dns = names.and_then(|names| {
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        })
    });
    let common = || certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let name = dns.or_else(common)?;
    (!name.is_empty() && name.len() <= NAME_BYTES_MAX).then(|| name.to_owned())
}

/// Gives when the certificate begins and ends to be valid, in seconds since 1970.
///
/// # Errors
/// It is no certificate.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Result<(i64, i64), String> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let validity = certificate.validity();
    Ok((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    /// Makes a certificate with these DNS names and common name.
    fn certificate(dns: &[&str], common: Option<&str>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        params.subject_alt_names.extend(dns.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())));
        if let Some(name) = common {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn a_client_is_who_its_first_dns_name_says_or_else_its_common_name() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        let cases: [(&[&str], Option<&str>, Option<&str>); 6] = [
            (&["web-1", "web-2"], Some("other"), Some("web-1")),
            (&[], Some("web-1"), Some("web-1")),
            (&["web-1"], None, Some("web-1")),
            (&[], None, None),
            (&[], Some(""), None),
            (&[], Some(&long), None),
        ];
        for (dns, common, expected) in cases {
            assert_eq!(name(&certificate(dns, common)).as_deref(), expected, "{dns:?} {common:?}");
        }
        assert_eq!(name(&CertificateDer::from(vec![1, 2, 3])), None);
    }

    #[test]
    fn a_certificate_says_when_it_is_valid() {
        assert_eq!(validity(&certificate(&["x"], None)), Ok((1_577_836_800, 1_893_456_000)));
        assert!(validity(&CertificateDer::from(vec![1])).is_err());
    }
}
