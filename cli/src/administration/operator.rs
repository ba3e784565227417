//! On whose behalf the CA works, and whom that may concern.
//!
//! Two permissions are asked for. `tools:<verb>` opens the tool, at the same policy point as any
//! other MCP server's. `ca:<verb>:<name>` says whom it may be used on: `ca:issue:team-a/*` lets an
//! operator issue for everybody whose name begins with `team-a/`. And nobody can grant what they do
//! not hold.

use std::path::Path;

use vouchsafe_ca::{Actor, Authority, Home, Inviter, Kind};
use vouchsafe_certs::{Fingerprint, Permission, PermissionSet, Principal};

use crate::exit::Failure;

/// The kind of permission that says whom an operator's verbs may concern.
const CA: &str = "ca";

/// Somebody on whose behalf the CA works.
#[derive(Clone, Debug)]
pub(crate) enum Operator {
    /// Somebody with the home's files, and so with its keys: nothing can be kept from them.
    Home,
    /// Somebody who has shown a certificate.
    Certified {
        /// Who it is.
        principal: Principal,
        /// SHA-256 of the certificate.
        fingerprint: Fingerprint,
        /// What every certificate on its chain allows.
        permissions: PermissionSet,
    },
}

impl Operator {
    /// Whether the CA's own record still trusts it. The gateway before has asked only the lists.
    pub(crate) fn counts(&self, authority: &Authority) -> Result<(), Failure> {
        match self {
            Self::Home => Ok(()),
            Self::Certified { fingerprint, .. } => Ok(authority.demand_caller(fingerprint)?),
        }
    }

    /// Who it is, for the journal, and by what: that is asked once more when their act is recorded.
    pub(crate) fn actor(&self) -> Actor {
        match self {
            Self::Home => Actor::Home,
            Self::Certified { principal, fingerprint, .. } => {
                Actor::Holder(principal.clone(), *fingerprint)
            }
        }
    }

    /// Who it is, for an invitation, which falls with whoever made it.
    pub(crate) fn inviter(&self) -> Inviter {
        match self {
            Self::Home => Inviter::Home,
            Self::Certified { fingerprint, .. } => Inviter::Holder(*fingerprint),
        }
    }

    /// A file of the home. Where that is concerns whoever has it, and nobody else.
    pub(crate) fn place(&self, home: &Home, path: &Path) -> String {
        match (self, path.strip_prefix(home.path())) {
            (Self::Certified { .. }, Ok(within)) => format!("HOME/{}", within.display()),
            _ => path.display().to_string(),
        }
    }

    /// Whether `verb` may be used on `principal`.
    ///
    /// Names are compared without the trust domain: the CA has only its own on record.
    pub(crate) fn may(&self, verb: &str, principal: &Principal) -> Result<(), Failure> {
        self.holds(&format!("{verb}:{}", principal.name()))
    }

    /// Whether `verb` may be used on what concerns no principal.
    pub(crate) fn may_at_all(&self, verb: &str) -> Result<(), Failure> {
        self.holds(verb)
    }

    /// Whether `verb` may be used on every principal there is.
    pub(crate) fn may_to_all(&self, verb: &str) -> Result<(), Failure> {
        // A name is never a star, so only a pattern that ends in one reaches this.
        self.holds(&format!("{verb}:*"))
    }

    fn holds(&self, name: &str) -> Result<(), Failure> {
        match self {
            Self::Certified { permissions, .. } if !permissions.allows(CA, name) => {
                Err(self.lacks(name))
            }
            _ => Ok(()),
        }
    }

    fn lacks(&self, name: &str) -> Failure {
        let message = format!("{} lacks the permission {CA}:{name}", self.actor());
        Failure::new(message).hint("ask an operator who holds it")
    }

    /// Whether `verb` may be used on anybody; on whom is asked once that is known. So whoever may not
    /// use it at all learns nothing of what the CA has on record.
    pub(crate) fn may_to_some(&self, verb: &str) -> Result<(), Failure> {
        match self {
            Self::Certified { permissions, .. }
                if !permissions.allows_some(CA, &format!("{verb}:")) =>
            {
                Err(self.lacks(&format!("{verb}:…")))
            }
            _ => Ok(()),
        }
    }

    /// Whether all of `permissions` may be handed on: nobody can grant what they do not hold.
    pub(crate) fn may_grant(&self, permissions: &PermissionSet) -> Result<(), Failure> {
        let Self::Certified { principal, permissions: held, .. } = self else { return Ok(()) };
        let exceeds = |permission: &&Permission| {
            let alone: PermissionSet = [(*permission).clone()].into_iter().collect();
            !alone.is_within(held)
        };
        match permissions.iter().find(exceeds) {
            None => Ok(()),
            Some(permission) => Err(Failure::new(format!(
                "{principal} cannot grant {permission}, which it does not hold"
            ))
            .hint("ask an operator who holds it")),
        }
    }

    /// Whether a certificate of this kind may be asked for. Clients find a gateway by its DNS name
    /// or address, so whoever chooses those could stand in any gateway's place.
    pub(crate) fn may_name(&self, kind: &Kind) -> Result<(), Failure> {
        let Kind::Server { dns_names, ip_addresses } = kind else { return Ok(()) };
        dns_names.iter().try_for_each(|name| self.holds(&format!("dns:{name}")))?;
        ip_addresses.iter().try_for_each(|address| self.holds(&format!("ip:{address}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(permissions: &[&str]) -> Operator {
        let (principal, fingerprint) = (principal("operator"), Fingerprint::of(b"its certificate"));
        Operator::Certified { principal, fingerprint, permissions: set(permissions) }
    }

    fn set(permissions: &[&str]) -> PermissionSet {
        permissions.iter().map(|text| Permission::parse(text).unwrap()).collect()
    }

    fn principal(name: &str) -> Principal {
        Principal::parse(&format!("spiffe://acme.example/{name}")).unwrap()
    }

    fn gateway(name: &str) -> Kind {
        Kind::Server { dns_names: vec![name.to_owned()], ip_addresses: Vec::new() }
    }

    #[test]
    fn a_scope_is_a_verb_and_a_beginning_of_names() {
        let team = operator(&["tools:*", "ca:issue:team-a/*", "ca:revoke:team-a/build-7"]);
        assert!(team.may("issue", &principal("team-a/build-7")).is_ok());
        assert!(team.may("revoke", &principal("team-a/build-7")).is_ok());
        for (verb, name) in [
            ("issue", "team-b/build-7"),
            ("issue", "team-a"),
            ("issue", "team-ab/x"),
            ("revoke", "team-a/build-70"),
            ("reinstate", "team-a/build-7"),
        ] {
            let refused = team.may(verb, &principal(name)).unwrap_err().to_string();
            assert!(refused.contains(&format!("lacks the permission ca:{verb}:{name}")));
        }
        assert!(team.may_to_all("issue").is_err() && team.may_at_all("crl").is_err());
    }

    #[test]
    fn tools_alone_open_nothing() {
        let agent = operator(&["tools:*", "resources:*"]);
        assert!(agent.may("issue", &principal("a")).is_err());
        assert!(agent.may_at_all("audit").is_err() && agent.may_to_all("revoke").is_err());
    }

    #[test]
    fn everything_and_the_home_have_no_bounds() {
        for operator in [operator(&["*:*"]), operator(&["ca:*", "tools:*"]), Operator::Home] {
            assert!(operator.may("issue", &principal("a/b")).is_ok());
            assert!(operator.may_to_all("revoke").is_ok() && operator.may_at_all("crl").is_ok());
            assert!(operator.may_name(&gateway("gw.example")).is_ok());
        }
    }

    #[test]
    fn nobody_grants_what_they_do_not_hold() {
        let team = operator(&["tools:search*", "ca:issue:*"]);
        assert!(team.may_grant(&set(&["tools:search", "tools:search-*"])).is_ok());
        assert!(team.may_grant(&PermissionSet::default()).is_ok());
        for more in ["tools:*", "*:*", "resources:a", "ca:revoke:*", "tools:sear*"] {
            let refused = team.may_grant(&set(&[more])).unwrap_err().to_string();
            assert!(refused.contains(&format!("cannot grant {more}")), "{refused}");
        }
        assert!(Operator::Home.may_grant(&set(&["*:*"])).is_ok());
    }

    #[test]
    fn nobody_names_a_gateway_that_is_not_theirs() {
        let team = operator(&["ca:issue:*", "ca:dns:gw.team-a.example"]);
        assert!(team.may_name(&Kind::Agent).is_ok());
        assert!(team.may_name(&gateway("gw.team-a.example")).is_ok());
        let refused = team.may_name(&gateway("gw.team-b.example")).unwrap_err().to_string();
        assert!(refused.contains("lacks the permission ca:dns:gw.team-b.example"));
    }
}
