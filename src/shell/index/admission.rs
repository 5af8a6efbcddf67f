//! Our CRD, and the admission policies that enforce holds.

use jiff::Timestamp;

use super::{Effects, Index, Indexed, Listing, Sight};
use crate::{
    core::observed::{Concerns, Uid, Unread, UnreadId},
    shell::{
        streams::Object,
        views::{Admission, AdmissionKind, Definitions},
    },
};

impl Indexed for Definitions {
    fn insert(index: &mut Index, object: Object<Self>, _sight: Sight, _effects: &mut Effects) {
        let now = object.view;
        if std::mem::replace(&mut index.definition, now.clone()) != now {
            index.tell_all();
        }
    }

    fn remove(index: &mut Index, _object: &Object<Self>, _now: Timestamp, _effects: &mut Effects) {
        index.definition = None;
        index.tell_all();
    }

    fn retain(
        index: &mut Index,
        _only: Option<&str>,
        listing: &Listing,
        _now: Timestamp,
        _effects: &mut Effects,
    ) {
        if listing.is_empty() {
            index.definition = None;
        }
    }

    fn known<'a>(_index: &'a Index, _object: &Object<Self>) -> Option<&'a Uid> {
        None
    }

    fn concerns(_object: &Object<Self>, _path: &str) -> Concerns {
        Concerns::Nobody
    }
}

impl<A: AdmissionKind> Indexed for Admission<A> {
    fn insert(index: &mut Index, object: Object<Self>, _sight: Sight, _effects: &mut Effects) {
        if index.enforcement.observe(A::KIND, &object.name, Some(object.view)) {
            index.tell_all();
        }
    }

    fn remove(index: &mut Index, object: &Object<Self>, _now: Timestamp, _effects: &mut Effects) {
        if index.enforcement.observe(A::KIND, &object.name, None) {
            index.tell_all();
        }
    }

    fn retain(
        index: &mut Index,
        _only: Option<&str>,
        listing: &Listing,
        _now: Timestamp,
        _effects: &mut Effects,
    ) {
        index.enforcement.observe_served(A::KIND, true);
        index.enforcement.keep_only(A::KIND, |name| listing.names("", name));
    }

    fn known<'a>(_index: &'a Index, _object: &Object<Self>) -> Option<&'a Uid> {
        None
    }

    fn concerns(_object: &Object<Self>, _path: &str) -> Concerns {
        Concerns::Nobody
    }

    fn is_foreign(index: &Index, object: &Object<Self>) -> bool {
        !index.enforcement.expects(A::KIND, &object.name)
    }

    fn spread(
        index: &mut Index,
        (_, _, name): &UnreadId,
        _before: Option<&Unread>,
        now: Option<&Unread>,
    ) {
        index.enforcement.observe_unread(A::KIND, name, now.map(|unread| unread.flaw.clone()));
        index.tell_all();
    }

    fn not_served(index: &mut Index) {
        if index.enforcement.observe_served(A::KIND, false) {
            index.tell_all();
        }
    }
}
