//! The extensions of one certificate or request, each at most once (RFC 5280 §4.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use x509_parser::der_parser::Oid;
use x509_parser::extensions::{GeneralName, KeyUsage, ParsedExtension, X509Extension};

use crate::permission_extension::PERMISSION_EXTENSION_OID;
use crate::{CertificateError, PermissionSet};

/// What this project reads of the extensions; anything else is left to the TLS library's verifier.
#[derive(Default)]
pub(crate) struct Extensions {
    pub(crate) is_ca: bool,
    pub(crate) key_usage: Option<KeyUsage>,
    pub(crate) client_auth: bool,
    pub(crate) server_auth: bool,
    pub(crate) uris: Vec<String>,
    pub(crate) dns_names: Vec<String>,
    pub(crate) ip_addresses: Vec<IpAddr>,
    pub(crate) subject_key: Option<Vec<u8>>,
    pub(crate) authority_key: Option<Vec<u8>>,
    pub(crate) permissions: Option<PermissionSet>,
}

impl Extensions {
    pub(crate) fn read(all: &[X509Extension<'_>]) -> Result<Self, CertificateError> {
        let mut read = Self::default();
        for (nth, extension) in all.iter().enumerate() {
            if all.iter().take(nth).any(|earlier| earlier.oid == extension.oid) {
                return Err(CertificateError::DuplicateExtension);
            }
            read.take(extension)?;
        }
        Ok(read)
    }

    fn take(&mut self, extension: &X509Extension<'_>) -> Result<(), CertificateError> {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) => self.is_ca = constraints.ca,
            ParsedExtension::KeyUsage(usage) => self.key_usage = Some(*usage),
            ParsedExtension::ExtendedKeyUsage(usage) => {
                self.client_auth = usage.client_auth;
                self.server_auth = usage.server_auth;
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                names.general_names.iter().try_for_each(|name| self.take_name(name))?;
            }
            ParsedExtension::SubjectKeyIdentifier(id) => self.subject_key = Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                self.authority_key = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            ParsedExtension::ParseError { .. } => return Err(CertificateError::Malformed),
            _ if is_permission_extension(&extension.oid) => {
                self.permissions = Some(PermissionSet::from_der(extension.value)?);
            }
            _ => {}
        }
        Ok(())
    }

    fn take_name(&mut self, name: &GeneralName<'_>) -> Result<(), CertificateError> {
        match name {
            GeneralName::URI(uri) => self.uris.push((*uri).to_owned()),
            GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
            GeneralName::IPAddress(octets) => {
                let address = ip_address(octets).ok_or(CertificateError::Malformed)?;
                self.ip_addresses.push(address);
            }
            // RFC 5280 §4.2.1.6: other kinds of names say nothing that this project relies on.
            _ => {}
        }
        Ok(())
    }
}

/// Whether an extension is the one that carries permissions.
pub(crate) fn is_permission_extension(oid: &Oid<'_>) -> bool {
    oid.iter().is_some_and(|arcs| arcs.eq(PERMISSION_EXTENSION_OID.iter().copied()))
}

fn ip_address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(octets).ok().map(|o| IpAddr::from(Ipv4Addr::from(o)));
    let v6 = || <[u8; 16]>::try_from(octets).ok().map(|o| IpAddr::from(Ipv6Addr::from(o)));
    v4().or_else(v6)
}
