//! Issue a certificate.

use std::net::IpAddr;

use rmcp::schemars;
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use vouchsafe_ca::{Authority, Config, Grant, Kind, Lifetime, Order, Pending};
use vouchsafe_certs::{CertificateRequest, Permission};

use super::view::CertificateView;
use super::{Question, Verb, Work};
use crate::context::principal;
use crate::exit::Failure;
use crate::json::{as_text_if_any, as_texts};
use crate::keyfile::Papers;
use crate::output::Sheet;

/// The longest text of a request that is read; the request in it is smaller yet.
const MAX_REQUEST_LEN: usize = 32 * 1024;

/// Issue a certificate for the key of a request.
pub(crate) const ISSUE: Verb<Issue, Issued> = Verb {
    name: "issue",
    about: "Issue a certificate that says who somebody is and what they may do. \
            Needs ca:issue:NAME, for a server ca:dns:HOST or ca:ip:ADDRESS of each of its names, \
            and every permission that is granted",
    work: Work::Issuing(issue),
    in_words: Issued::in_words,
};

/// For whom, what for, and for which key.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Issue {
    /// For whom: a name such as team-a/build-7, or a whole SPIFFE ID.
    pub(crate) name: String,
    /// What it may do, kind:pattern each, such as tools:search.
    #[serde(default, with = "as_texts")]
    #[schemars(with = "Vec<String>")]
    pub(crate) allow: Vec<Permission>,
    /// Roles of the CA's ca.toml, for everything they allow.
    #[serde(default)]
    pub(crate) roles: Vec<String>,
    /// How long it lives, such as 30m, 24h or 7d; if absent, as ca.toml and the roles have it.
    #[serde(default, with = "as_text_if_any")]
    #[schemars(with = "Option<String>")]
    pub(crate) ttl: Option<Lifetime>,
    /// For a gateway: the names that its clients dial. Absent for an agent.
    #[serde(default)]
    pub(crate) server: Option<ServerNames>,
    /// A PKCS#10 certificate signing request, PEM. Only its key is taken.
    pub(crate) request: String,
}

/// The names that a gateway's clients dial.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerNames {
    /// DNS names.
    #[serde(default)]
    pub(crate) dns: Vec<String>,
    /// IP addresses.
    #[serde(default)]
    pub(crate) ip: Vec<IpAddr>,
}

impl ServerNames {
    /// What a certificate with these names is for; without any, an agent.
    pub(crate) fn kind(names: Option<&Self>) -> Kind {
        names.map_or(Kind::Agent, |Self { dns, ip }| Kind::Server {
            dns_names: dns.clone(),
            ip_addresses: ip.clone(),
        })
    }
}

/// A new certificate, with everything its holder needs.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
pub(crate) struct Issued {
    /// What it says.
    pub(crate) certificate: CertificateView,
    /// The certificate and the issuing CA's, PEM.
    pub(crate) chain: String,
    /// What its holder trusts, PEM.
    pub(crate) roots: String,
}

impl Issued {
    pub(crate) fn sheet(&self, now: UnixTime) -> Sheet {
        let mut sheet = Sheet::default();
        self.certificate.describe(&mut sheet);
        sheet.line("valid", &self.certificate.validity(now));
        sheet.line("serial", &self.certificate.serial.to_string());
        sheet
    }

    pub(crate) fn headline(&self) -> String {
        format!("Issued {}", self.certificate.principal)
    }

    fn in_words(&self, now: UnixTime) -> String {
        format!("{}\n{}", self.headline(), self.sheet(now).to_text())
    }

    pub(crate) fn papers(&self) -> Papers {
        Papers { certificate: self.chain.clone(), roots: self.roots.clone() }
    }
}

fn issue(
    authority: &Authority,
    question: &Question<'_, Issue>,
) -> Result<Pending<Issued>, Failure> {
    let Question { ask, by, now } = question;
    let config = authority.home().config();
    let principal = principal(&ask.name, &config.trust_domain)?;
    by.may(ISSUE.name, &principal)?;
    let granted = granted(config, principal.name(), &ask.roles, &ask.allow, ask.ttl)?;
    let Grant { permissions, ttl: lifetime, .. } = granted;
    by.may_grant(&permissions)?;
    let kind = ServerNames::kind(ask.server.as_ref());
    by.may_name(&kind)?;
    let public_key = read_request(ask.request.as_bytes())?.public_key;
    let order = Order { principal, kind, permissions, lifetime, public_key };
    Ok(authority.begin_issue(&by.actor(), order)?.map(|issued| {
        let Papers { certificate: chain, roots } = Papers::of(&issued);
        let certificate = CertificateView::of_certificate(&issued.certificate, *now);
        Issued { certificate, chain, roots }
    }))
}

/// What roles and permissions come to together, and for how long.
pub(crate) fn granted(
    config: &Config,
    name: &str,
    roles: &[String],
    allow: &[Permission],
    asked: Option<Lifetime>,
) -> Result<Grant, Failure> {
    let mut grant = config.grant(name, roles).map_err(vouchsafe_ca::Error::from)?;
    grant.ttl = match (asked, grant.ttl) {
        (Some(asked), Some(longest)) if asked > longest => {
            let message = format!("a lifetime of {asked} is longer than the {longest} of the role");
            return Err(Failure::new(message).hint("ask for less, or change ttl in ca.toml"));
        }
        (asked, longest) => asked.or(longest),
    };
    grant.permissions = grant.permissions.iter().chain(allow).cloned().collect();
    Ok(grant)
}

/// Reads a request, PEM or DER.
pub(crate) fn read_request(octets: &[u8]) -> Result<CertificateRequest, Failure> {
    if octets.len() > MAX_REQUEST_LEN {
        return Err(Failure::new("the certificate request is longer than 32 KiB"));
    }
    CertificateRequest::from_pem_or_der(octets)
        .map_err(|error| Failure::new(format!("the certificate request is refused: {error}")))
}
