//! The part of the index that keeps what cannot be read.

use super::{Effects, Index, Indexed, Listing, Sight, entry};
use crate::{
    core::{
        observed::{Concerns, Unread, UnreadId},
        rest::News,
    },
    shell::{
        streams::Object,
        views::{Watched, lenient::Flaw},
    },
};

impl Index {
    /// The objects that cannot be read.
    pub fn unread(&self) -> impl Iterator<Item = &Unread> {
        self.unread.values()
    }

    /// Those of them that are told: where there are policies, or claims that are retained.
    pub fn unread_of_interest(&self) -> impl Iterator<Item = &Unread> {
        let interest = self.with_interest();
        self.unread().filter(move |one| {
            one.namespace.is_empty() || interest.contains(one.namespace.as_str())
        })
    }

    /// Takes note of an object that cannot be read. What was known of it stands, as long as it is
    /// the same object.
    pub(super) fn skip<K: Indexed>(
        &mut self,
        object: Object<K>,
        flaw: Flaw,
        sight: Sight,
        effects: &mut Effects,
    ) {
        if K::is_foreign(self, &object) {
            return;
        }
        if K::known(self, &object).is_some_and(|uid| *uid != object.uid) {
            K::remove(self, &object, sight.now, effects);
        }
        let unread = Unread {
            api_version: K::api_version(),
            kind: K::KIND,
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            uid: object.uid.clone(),
            concerns: K::concerns(&object, &flaw.path),
            flaw: flaw.sentence,
        };
        let id = id(&object);
        if self.unread.get(&id) != Some(&unread) {
            self.spread::<K>(&id, Some(&unread), effects);
        }
        if let Some(stand_in) = K::stand_in(self, object, &unread) {
            K::insert(self, stand_in, Sight { live: false, ..sight }, effects);
        }
    }

    /// An object can be read again, or is gone.
    pub(super) fn is_read<K: Indexed>(&mut self, object: &Object<K>, effects: &mut Effects) {
        if self.unread.is_empty() {
            return;
        }
        let id = id(object);
        if self.unread.contains_key(&id) {
            self.spread::<K>(&id, None, effects);
        }
    }

    /// What a complete list no longer names is gone, also if it could not be read.
    pub(super) fn retain_unread<K: Indexed>(
        &mut self,
        only: Option<&str>,
        listing: &Listing,
        effects: &mut Effects,
    ) {
        let gone = |(plural, namespace, name): &&UnreadId| {
            let place = if namespace.is_empty() { name } else { namespace };
            *plural == K::PLURAL
                && only.is_none_or(|only| only == place)
                && !listing.names(namespace, name)
        };
        let gone: Vec<_> = self.unread.keys().filter(gone).cloned().collect();
        gone.iter().for_each(|id| self.spread::<K>(id, None, effects));
    }

    /// Lets those know whom it concerns that an object cannot be read, or no longer stands unread.
    fn spread<K: Indexed>(&mut self, id: &UnreadId, now: Option<&Unread>, effects: &mut Effects) {
        effects.unread_changed = true;
        let before = match now {
            Some(unread) => self.unread.insert(id.clone(), unread.clone()),
            None => self.unread.remove(id),
        };
        K::spread(self, id, before.as_ref(), now);
    }

    /// The same by where the object is: in a namespace, or in the cluster, where its storage is all
    /// that it concerns.
    pub(super) fn spread_by_place(
        &mut self,
        id: &UnreadId,
        before: Option<&Unread>,
        now: Option<&Unread>,
    ) {
        let (_, namespace, _) = id;
        let known = match namespace.is_empty() {
            true => &mut self.storage.unread,
            false => &mut entry(&mut self.namespaces, namespace).unread,
        };
        match now {
            Some(unread) => drop(known.insert(id.clone(), unread.clone())),
            None => drop(known.remove(id)),
        }
        if !namespace.is_empty() {
            return self.tell(namespace, News::whole());
        }
        for one in before.into_iter().chain(now) {
            match &one.concerns {
                Concerns::Storage(of) if of.is_empty() => self.tell_all(),
                Concerns::Storage(of) => self.tell_each(of, News::whole),
                _ => {}
            }
        }
    }
}

fn id<K: Watched>(object: &Object<K>) -> UnreadId {
    (K::PLURAL, object.namespace.clone(), object.name.clone())
}
