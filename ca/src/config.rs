//! `ca.toml`: whom this CA vouches for, for how long, and its roles.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vouchsafe_certs::{Permission, PermissionSet, TrustDomain};

use crate::lifetime::Lifetime;
use crate::pointers::PublicUrl;
use crate::store::StoreKind;
use crate::text;

/// What `ca.toml` says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The part of the world this CA vouches for. Fixed by `init`.
    #[serde(with = "text::as_text")]
    pub trust_domain: TrustDomain,
    /// What keeps what the CA remembers. Chosen by `init`.
    #[serde(default, with = "text::as_text")]
    pub store: StoreKind,
    /// Where verifiers find lists, OCSP and CA certificates: certificates point there. Absent: they point nowhere.
    #[serde(default, with = "text::optional", skip_serializing_if = "Option::is_none")]
    pub public_url: Option<PublicUrl>,
    /// How long what this CA signs lives.
    #[serde(default)]
    pub lifetimes: Lifetimes,
    /// Bundles of permissions with a name.
    #[serde(default)]
    pub roles: BTreeMap<String, Role>,
}

/// How long what the CA signs lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(
    rename_all = "kebab-case",
    deny_unknown_fields,
    default,
    expecting = "a table: [lifetimes] with certificate, longest, list and root-list below it"
)]
#[non_exhaustive]
pub struct Lifetimes {
    /// A certificate, if nobody says otherwise.
    #[serde(with = "text::as_text")]
    pub certificate: Lifetime,
    /// A certificate at most.
    #[serde(with = "text::as_text")]
    pub longest: Lifetime,
    /// The issuing CA's revocation list.
    #[serde(with = "text::as_text")]
    pub list: Lifetime,
    /// The root's revocation list, long, so that the root can stay offline.
    #[serde(with = "text::as_text")]
    pub root_list: Lifetime,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            certificate: Lifetime::hours(24),
            longest: Lifetime::days(90),
            list: Lifetime::days(7),
            root_list: Lifetime::days(365),
        }
    }
}

/// A bundle of permissions with a name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(
    rename_all = "kebab-case",
    deny_unknown_fields,
    expecting = "a table: [roles.NAME] with allow, ttl and names below it"
)]
#[non_exhaustive]
pub struct Role {
    /// What the role permits.
    #[serde(with = "text::as_texts")]
    pub allow: Vec<Permission>,
    /// How long a certificate with this role lives at most.
    #[serde(default, with = "text::optional", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Lifetime>,
    /// Who may get the role: names, or beginnings of names with a final `*`. Absent: everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
}

impl Role {
    fn may_be_given_to(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|patterns| {
            patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => name == pattern,
            })
        })
    }
}

/// What is wrong with `ca.toml`, or with a request for its roles.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not TOML, or not of the shape that is read.
    #[error("{} cannot be used: {problem}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What is wrong and where.
        problem: Box<toml::de::Error>,
    },
    /// The CA was made for another trust domain.
    #[error("ca.toml says trust domain {said}, but the CA was made for {made}")]
    TrustDomain {
        /// What the file says.
        said: TrustDomain,
        /// What the CA was made for.
        made: TrustDomain,
    },
    /// A certificate's usual lifetime exceeds the longest.
    #[error(
        "ca.toml lets certificates live {certificate} but at most {longest}: the first must not exceed the second"
    )]
    Lifetimes {
        /// The usual one.
        certificate: Lifetime,
        /// The longest.
        longest: Lifetime,
    },
    /// A role that is not there.
    #[error("ca.toml knows no role {0}")]
    NoSuchRole(String),
    /// A role that is not for everybody.
    #[error("role {role} may not be given to {name}")]
    RoleNotForName {
        /// Which role.
        role: String,
        /// Who asked.
        name: String,
    },
}

impl ConfigError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreadable { .. } | Self::Lifetimes { .. } => Some("mend ca.toml and try again"),
            Self::TrustDomain { .. } => {
                Some("put the trust domain back; a new one needs a CA of its own (init)")
            }
            Self::NoSuchRole(_) => {
                Some("add it to ca.toml: [roles.NAME] with allow = [\"tools:search\"]")
            }
            Self::RoleNotForName { .. } => Some("see names = [...] of the role in ca.toml"),
        }
    }
}

/// What a set of roles comes to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Grant {
    /// Everything the roles permit together.
    pub permissions: PermissionSet,
    /// The shortest of the roles' lifetimes.
    pub ttl: Option<Lifetime>,
}

impl Config {
    /// What `init` writes.
    #[must_use]
    pub fn new(trust_domain: TrustDomain, store: StoreKind) -> Self {
        Self {
            trust_domain,
            store,
            public_url: None,
            lifetimes: Lifetimes::default(),
            roles: BTreeMap::new(),
        }
    }

    /// Reads the text of `ca.toml`.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`] and [`ConfigError::Lifetimes`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|problem| ConfigError::Unreadable {
            path: path.to_owned(),
            problem: Box::new(problem),
        })?;
        let Lifetimes { certificate, longest, .. } = config.lifetimes;
        if certificate > longest {
            return Err(ConfigError::Lifetimes { certificate, longest });
        }
        Ok(config)
    }

    /// The text that `init` writes, with an example of a role.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Lifetimes { certificate, longest, list, root_list } = self.lifetimes;
        format!(
            r#"# The CA of this home. Written once by `vouchsafe init`; edit the lifetimes and roles as you like.
trust-domain = "{}"

# What keeps what the CA remembers, in store/: sled or redb. To change over: say the other one, then vouchsafe restore --replace.
store = "{}"

# Where `vouchsafe ca --public` is found; certificates then point to its lists and its OCSP responder.
# public-url = "https://ca.acme.example:8445"

[lifetimes]
certificate = "{certificate}"  # a certificate, unless --ttl says otherwise
longest = "{longest}"      # what --ttl may say at most
list = "{list}"          # the revocation list; it is signed anew on every revocation and at half its life
root-list = "{root_list}"   # the root's own list

# [roles.reader]
# allow = ["tools:search", "resources:file:///docs/*"]
# ttl = "8h"                   # optional: certificates with this role live at most so long
# names = ["build-*"]          # optional: who may get it
"#,
            self.trust_domain, self.store
        )
    }

    /// What `roles` permit together to the principal with `name`.
    ///
    /// # Errors
    /// [`ConfigError::NoSuchRole`] and [`ConfigError::RoleNotForName`].
    pub fn grant(&self, name: &str, roles: &[String]) -> Result<Grant, ConfigError> {
        let mut permissions = Vec::new();
        let mut ttl = None;
        for wanted in roles {
            let role =
                self.roles.get(wanted).ok_or_else(|| ConfigError::NoSuchRole(wanted.clone()))?;
            if !role.may_be_given_to(name) {
                let (role, name) = (wanted.clone(), name.to_owned());
                return Err(ConfigError::RoleNotForName { role, name });
            }
            permissions.extend(role.allow.iter().cloned());
            ttl = match (ttl, role.ttl) {
                (Some(one), Some(other)) => Some(Ord::min(one, other)),
                (one, other) => one.or(other),
            };
        }
        Ok(Grant { permissions: permissions.into_iter().collect(), ttl })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("ca.toml"))
    }

    #[test]
    fn what_init_writes_is_read() {
        let trust_domain = TrustDomain::parse("acme.example").unwrap();
        let written = Config::new(trust_domain, StoreKind::Redb);
        let read = parse(&written.to_text()).unwrap();
        assert_eq!((&read.trust_domain, read.store), (&written.trust_domain, written.store));
        assert_eq!(read.lifetimes, written.lifetimes);
        // The example, uncommented, is a role.
        let text = written.to_text().replace("# [roles", "[roles");
        let text =
            text.replace("# allow", "allow").replace("# ttl", "ttl").replace("# names", "names");
        assert_eq!(parse(&text).unwrap().roles.len(), 1);
    }

    #[test]
    fn roles_add_up_and_the_shortest_life_counts() {
        let config = parse(
            r#"trust-domain = "a"
            [roles.one]
            allow = ["tools:a", "tools:b"]
            ttl = "8h"
            [roles.two]
            allow = ["tools:b", "tools:c"]
            ttl = "2h"
            names = ["build-*", "exact"]"#,
        )
        .unwrap();
        let both = ["one".to_owned(), "two".to_owned()];
        let grant = config.grant("build-7", &both).unwrap();
        assert_eq!(grant.permissions.to_string(), "tools:a tools:b tools:c");
        assert_eq!(grant.ttl, Some(Lifetime::hours(2)));
        assert!(config.grant("exact", &both).is_ok());
        let refused = config.grant("exactly", &both);
        assert!(matches!(refused, Err(ConfigError::RoleNotForName { role, .. }) if role == "two"));
        let unknown = config.grant("x", &["three".to_owned()]);
        assert!(matches!(unknown, Err(ConfigError::NoSuchRole(_))));
        assert_eq!(config.grant("x", &[]).unwrap(), Grant::default());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("trust-domain = 'A'", "trust domain"),
            ("trust-domain = 'a'\nstore = 'etcd'", "is no store: say sled or redb"),
            ("trust-domain = 'a'\nlifetime = '1h'", "unknown field `lifetime`"),
            ("trust-domain = 'a'\nlifetimes = 5", "expected a table: [lifetimes] with certificate"),
            ("trust-domain = 'a'\n[roles]\nreader = 5", "expected a table: [roles.NAME] with"),
            ("trust-domain = 'a'\n[lifetimes]\ncertificate = '1 day'", "whole number with a unit"),
            ("trust-domain = 'a'\npublic-url = 'ca.example'", "begins with http"),
            ("trust-domain = 'a'\n[roles.x]\nallow = ['tools']", "kind:pattern"),
            ("trust-domain = 'a'\n[lifetimes]\ncertificate = '100d'", "must not exceed"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
