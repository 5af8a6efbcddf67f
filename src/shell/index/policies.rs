//! Policies.

use jiff::Timestamp;

use super::{Effects, InNamespace, Listing, Seen};
use crate::{
    core::{
        observed::{Concerns, Unread},
        observed::{Namespace, Policy, Uid},
        rest::News,
    },
    shell::{streams::Object, views::Policies},
};

const NEVER_OPENS: &str = "spec.gates.windows: within the next 5 years no change could go through, because the Deny windows cover every Allow window; change one of them";

impl InNamespace for Policies {
    fn insert(
        namespace: &mut Namespace,
        object: Object<Self>,
        seen: Seen,
        effects: &mut Effects,
    ) -> Option<News> {
        let mut policy = object.view;
        if let Ok(spec) = &mut policy.spec {
            policy.switched_off = seen.reach.limit(spec);
        }
        if policy.spec.is_ok() && policy.windows.never_opens(seen.now) {
            policy.spec = Err(NEVER_OPENS.to_owned());
        }
        let same = |before: &Policy| {
            before.uid == policy.uid
                && before.generation == policy.generation
                && before.spec == policy.spec
        };
        let only_status = namespace.policies.get(&object.name).is_some_and(same);
        let before = namespace.policies.insert(object.name, policy);
        effects.interest_changed |= before.is_none();
        effects.replaced(before.as_ref().map(|before| &before.uid), &object.uid);
        Some(if only_status { News::due() } else { News::whole() })
    }

    fn remove(
        namespace: &mut Namespace,
        object: &Object<Self>,
        _now: Timestamp,
        effects: &mut Effects,
    ) -> News {
        let gone = namespace.policies.remove(&object.name);
        effects.interest_changed |= gone.is_some();
        effects.gone.extend(gone.map(|gone| gone.uid));
        News::whole()
    }

    fn retain(namespace: &mut Namespace, listing: &Listing, _seen: Seen, effects: &mut Effects) {
        let Namespace { name, policies, .. } = namespace;
        for (_, gone) in policies.extract_if(.., |policy, _| !listing.names(name, policy)) {
            effects.interest_changed = true;
            effects.gone.push(gone.uid);
        }
    }

    fn known<'a>(namespace: &'a Namespace, object: &Object<Self>) -> Option<&'a Uid> {
        Some(&namespace.policies.get(&object.name)?.uid)
    }

    fn concerns(_object: &Object<Self>, _path: &str) -> Concerns {
        Concerns::Nobody
    }

    /// One that cannot be read is one that cannot be acted on.
    fn stand_in(
        namespace: Option<&Namespace>,
        object: Object<Self>,
        unread: &Unread,
    ) -> Option<Object<Self>> {
        let mut policy = object.view;
        if let Some(known) = namespace.and_then(|namespace| namespace.policies.get(&object.name)) {
            policy.status = known.status.clone();
        }
        policy.spec = Err(format!("the policy cannot be read: {}", unread.flaw));
        Some(Object { view: policy, ..object })
    }
}
