//! What each kind that is watched changes in what is known.
//!
//! A kind whose objects belong to a namespace says it of one namespace ([`InNamespace`]); the
//! others say it of the whole index ([`Indexed`]).

use std::collections::HashSet;

use jiff::Timestamp;

use super::{Effects, Index, entry};
use crate::{
    core::{
        digest::Key,
        observed::{Concerns, Unread, UnreadId},
        observed::{Namespace, Uid},
        reach::Reach,
        rest::News,
    },
    shell::{streams::Object, views::Watched},
};

/// What a list names so far. An object of a name that another one had before is another object.
#[derive(Default)]
pub struct Listing {
    names: HashSet<(String, String)>,
    uids: HashSet<Uid>,
}

impl Listing {
    /// The list names an object.
    pub fn add<K: Watched>(&mut self, object: &Object<K>) {
        self.names.insert((object.namespace.clone(), object.name.clone()));
        self.uids.insert(object.uid.clone());
    }

    /// Whether it names nothing.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether it names an object of this name; the namespace of one of the cluster is empty.
    pub fn names(&self, namespace: &str, name: &str) -> bool {
        self.names.contains(&(namespace.to_owned(), name.to_owned()))
    }

    /// Whether it names an object of this uid.
    pub fn has(&self, uid: &Uid) -> bool {
        self.uids.contains(uid)
    }
}

/// When an object was seen, and how.
#[derive(Debug, Clone, Copy)]
pub struct Sight {
    /// When.
    pub now: Timestamp,
    /// On a watch whose list is complete: what differs from what was known has just changed.
    pub live: bool,
}

/// A kind that the index keeps.
pub trait Indexed: Watched {
    /// Takes in an object as it is now.
    fn insert(index: &mut Index, object: Object<Self>, sight: Sight, effects: &mut Effects);

    /// An object is gone.
    fn remove(index: &mut Index, object: &Object<Self>, now: Timestamp, effects: &mut Effects);

    /// A list of one namespace, or of all, is complete: what it does not name is gone.
    fn retain(
        index: &mut Index,
        only: Option<&str>,
        listing: &Listing,
        now: Timestamp,
        effects: &mut Effects,
    );

    /// The uid of the object of this name that is known, where that is kept by name.
    fn known<'a>(index: &'a Index, object: &Object<Self>) -> Option<&'a Uid>;

    /// Whom an object concerns of which only a part can be read; `path` is where it cannot.
    fn concerns(object: &Object<Self>, path: &str) -> Concerns;

    /// Whether an object is none of ours.
    fn is_foreign(_index: &Index, _object: &Object<Self>) -> bool {
        false
    }

    /// What stands in for an object that cannot be read; mostly what was known of it.
    fn stand_in(_index: &Index, _object: Object<Self>, _unread: &Unread) -> Option<Object<Self>> {
        None
    }

    /// Lets those know whom it concerns that an object cannot be read, or no longer stands unread.
    fn spread(index: &mut Index, id: &UnreadId, before: Option<&Unread>, now: Option<&Unread>) {
        index.spread_by_place(id, before, now);
    }

    /// The API server does not serve the kind.
    fn not_served(_index: &mut Index) {}
}

/// When an object of a namespace was seen, how, and by which installation.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// When.
    pub now: Timestamp,
    /// On a watch whose list is complete.
    pub live: bool,
    /// The newest version that any watch has shown.
    pub newest: u64,
    /// The digest key.
    pub key: &'static Key,
    /// How far the installation reaches.
    pub reach: &'a Reach,
}

/// A kind whose objects the index keeps in their namespaces.
pub trait InNamespace: Watched {
    /// Takes in an object as it is now. Returns what that means, if it means anything.
    fn insert(
        namespace: &mut Namespace,
        object: Object<Self>,
        seen: Seen,
        effects: &mut Effects,
    ) -> Option<News>;

    /// An object is gone. Returns what that means.
    fn remove(
        namespace: &mut Namespace,
        object: &Object<Self>,
        now: Timestamp,
        effects: &mut Effects,
    ) -> News;

    /// A list is complete: what it does not name is gone.
    fn retain(namespace: &mut Namespace, listing: &Listing, seen: Seen, effects: &mut Effects);

    /// The uid of the object of this name that is known, where that is kept by name.
    fn known<'a>(namespace: &'a Namespace, object: &Object<Self>) -> Option<&'a Uid>;

    /// Whom an object concerns of which only a part can be read; `path` is where it cannot.
    fn concerns(object: &Object<Self>, path: &str) -> Concerns;

    /// What stands in for an object that cannot be read; mostly what was known of it.
    fn stand_in(
        _namespace: Option<&Namespace>,
        _object: Object<Self>,
        _unread: &Unread,
    ) -> Option<Object<Self>> {
        None
    }
}

impl<K: InNamespace> Indexed for K {
    fn insert(index: &mut Index, object: Object<K>, sight: Sight, effects: &mut Effects) {
        let place = object.namespace.clone();
        let seen = Seen {
            now: sight.now,
            live: sight.live,
            newest: index.newest,
            key: index.key,
            reach: &index.reach,
        };
        let namespace = entry(&mut index.namespaces, &place);
        if let Some(news) = K::insert(namespace, object, seen, effects) {
            index.tell(&place, news);
        }
    }

    fn remove(index: &mut Index, object: &Object<K>, now: Timestamp, effects: &mut Effects) {
        let place = &object.namespace;
        let Some(namespace) = index.namespaces.get_mut(place) else { return };
        let news = K::remove(namespace, object, now, effects);
        index.tell(place, news);
        index.drop_if_empty(place);
    }

    fn retain(
        index: &mut Index,
        only: Option<&str>,
        listing: &Listing,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        let seen =
            Seen { now, live: false, newest: index.newest, key: index.key, reach: &index.reach };
        let all = index.namespaces.values_mut();
        for namespace in all.filter(|one| only.is_none_or(|only| only == &*one.name)) {
            K::retain(namespace, listing, seen, effects);
        }
    }

    fn known<'a>(index: &'a Index, object: &Object<K>) -> Option<&'a Uid> {
        K::known(index.namespaces.get(&object.namespace)?, object)
    }

    fn concerns(object: &Object<K>, path: &str) -> Concerns {
        <K as InNamespace>::concerns(object, path)
    }

    fn stand_in(index: &Index, object: Object<K>, unread: &Unread) -> Option<Object<K>> {
        K::stand_in(index.namespaces.get(&object.namespace), object, unread)
    }
}
