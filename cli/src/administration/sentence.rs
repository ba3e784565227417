//! What a record of the journal says, in words.

use vouchsafe_ca::{Actor, Event, Offer, Origin, Planned};
use vouchsafe_certs::{CaCertificate, PermissionSet};

use crate::output::{count, date};

/// Who it was, in a word: the trust domain is the same in every line.
pub(crate) fn actor(by: &Actor) -> String {
    match by {
        Actor::Home => "home".to_owned(),
        Actor::Principal(principal) | Actor::Holder(principal, _) => principal.name().to_owned(),
        Actor::Itself => "the CA".to_owned(),
    }
}

fn may(permissions: &PermissionSet) -> String {
    if permissions.is_empty() { "nothing".to_owned() } else { permissions.to_string() }
}

fn issue(planned: &Planned, origin: &Origin) -> String {
    let Planned { serial, usage, principal, permissions, not_after, .. } = planned;
    let (until, may) = (date(*not_after), may(permissions));
    let how = match origin {
        Origin::Order => String::new(),
        Origin::Invitation(id) => format!(" (invitation {id})"),
        Origin::Renewal(of) => format!(" (renewal of {of})"),
    };
    format!("issued {serial} to {usage} {principal}{how}, until {until}, may: {may}")
}

/// What happened.
pub(crate) fn sentence(event: &Event) -> String {
    match event {
        Event::Initialized { trust_domain, .. } => format!("made the CA of {trust_domain}"),
        Event::Issued { planned, origin, .. } => issue(planned, origin),
        Event::Invited { id, offer, .. } => {
            let Offer { principal, permissions, uses, expires_in, .. } = offer;
            let keys = count(u64::from(*uses), "key");
            format!(
                "invited {principal} ({id}) for {expires_in} and {keys}, may: {}",
                may(permissions)
            )
        }
        Event::Withdrawn { id } => format!("withdrew invitation {id}"),
        Event::Limited { principal, permissions: Some(permissions) } => {
            format!("limited device {principal} to: {}", may(permissions))
        }
        Event::Limited { principal, permissions: None } => {
            format!("lifted the limit of device {principal}")
        }
        Event::LineageRevoked { lineage, newest, shown, .. } => format!(
            "revoked the lineage of {lineage} (keyCompromise): {shown} was shown with another key than that of {newest}, to which it had been renewed"
        ),
        Event::RevokedIssuedBefore { principal, before, reason } => {
            let whom = principal
                .as_ref()
                .map_or_else(|| "everybody".to_owned(), |principal| format!("device {principal}"));
            format!("revoked everything issued to {whom} before {} ({reason})", date(*before))
        }
        Event::Revoked { serial, reason } => format!("revoked certificate {serial} ({reason})"),
        Event::DeviceRevoked { principal, reason } => {
            format!("revoked device {principal} ({reason}) with everything it held")
        }
        Event::Reinstated { principal } => format!("reinstated device {principal}"),
        Event::CaAdded { tier, certificate, begins } => {
            let serial = CaCertificate::from_der(certificate)
                .map_or_else(|error| error.to_string(), |ca| ca.serial.to_string());
            format!("made {tier} CA {serial}, which signs from {}", date(*begins))
        }
        Event::CaRevoked { serial, reason } => format!("revoked issuing CA {serial} ({reason})"),
        Event::CaRetired { serial, .. } => format!("retired CA {serial}: its time is over"),
        Event::ListSigned { issuer, number, next_update, .. } => {
            format!("signed revocation list {number} of CA {issuer}, until {}", date(*next_update))
        }
        Event::StoreRebuilt { damage, cut } => {
            let cut =
                cut.map(|cut| format!(" without its last {cut} octets, which were no record"));
            let damage = damage.as_ref().map(|damage| format!(": {damage}"));
            let [cut, damage] = [cut, damage].map(Option::unwrap_or_default);
            format!("built the store anew from the journal{cut}{damage}")
        }
        _ => "something that this version does not know".to_owned(),
    }
}
