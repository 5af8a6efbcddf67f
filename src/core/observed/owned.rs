//! Objects by uid that are also found by their owner: what belongs to one workload is found without
//! looking at what belongs to the others.

use std::{
    collections::{BTreeMap, HashMap, btree_map},
    ops::Deref,
};

use crate::core::observed::ids::Uid;

/// An object that may belong to another one.
pub trait HasOwner {
    /// The uid of that.
    fn owner(&self) -> Option<&Uid>;
}

/// Objects by uid, and by the uid of their owner. What changes one in place must not change its
/// owner.
#[derive(Debug, Clone)]
pub struct Owned<V> {
    all: BTreeMap<Uid, V>,
    /// Sorted.
    by_owner: HashMap<Uid, Vec<Uid>>,
}

impl<V: HasOwner> Owned<V> {
    /// Those of an owner, in the order of their uids.
    pub fn of<'a>(&'a self, owner: &str) -> impl Iterator<Item = (&'a Uid, &'a V)> + use<'a, V> {
        let uids = self.by_owner.get(owner).map_or(&[][..], Vec::as_slice);
        uids.iter().filter_map(|uid| self.all.get_key_value(uid))
    }

    /// Keeps one; what was kept of it before.
    pub fn insert(&mut self, uid: Uid, value: V) -> Option<V> {
        let before = self.remove(&uid);
        if let Some(owner) = value.owner() {
            let uids = self.by_owner.entry(owner.clone()).or_default();
            if let Err(place) = uids.binary_search(&uid) {
                uids.insert(place, uid.clone());
            }
        }
        self.all.insert(uid, value);
        before
    }

    /// Forgets one; what was kept of it.
    pub fn remove(&mut self, uid: &str) -> Option<V> {
        let gone = self.all.remove(uid)?;
        if let Some(owner) = gone.owner()
            && let Some(uids) = self.by_owner.get_mut(owner)
        {
            uids.retain(|one| **one != *uid);
            if uids.is_empty() {
                self.by_owner.remove(owner);
            }
        }
        Some(gone)
    }

    /// Forgets those of which this does not hold.
    pub fn retain(&mut self, mut keep: impl FnMut(&Uid, &V) -> bool) {
        let gone: Vec<_> = self
            .all
            .iter()
            .filter(|(uid, one)| !keep(uid, one))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in gone {
            self.remove(&uid);
        }
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// One of them, to change it in place.
    pub fn get_mut(&mut self, uid: &str) -> Option<&mut V> {
        self.all.get_mut(uid)
    }

    /// All of them, to change them in place.
    pub fn values_mut(&mut self) -> btree_map::ValuesMut<'_, Uid, V> {
        self.all.values_mut()
    }
}

impl<V> Default for Owned<V> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), by_owner: HashMap::new() }
    }
}

impl<V> Deref for Owned<V> {
    type Target = BTreeMap<Uid, V>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl<V: HasOwner> Extend<(Uid, V)> for Owned<V> {
    fn extend<I: IntoIterator<Item = (Uid, V)>>(&mut self, more: I) {
        for (uid, value) in more {
            self.insert(uid, value);
        }
    }
}

impl<V: HasOwner> FromIterator<(Uid, V)> for Owned<V> {
    fn from_iter<I: IntoIterator<Item = (Uid, V)>>(all: I) -> Self {
        let mut owned = Self::default();
        owned.extend(all);
        owned
    }
}

impl<V> IntoIterator for Owned<V> {
    type Item = (Uid, V);
    type IntoIter = btree_map::IntoIter<Uid, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Of(Option<Uid>);

    impl HasOwner for Of {
        fn owner(&self) -> Option<&Uid> {
            self.0.as_ref()
        }
    }

    #[test]
    fn what_belongs_to_an_owner_is_found_whatever_comes_and_goes() {
        let of = |owner: &str| Of((!owner.is_empty()).then(|| owner.into()));
        let mut all: Owned<Of> = [("b", "web"), ("a", "web"), ("c", "db"), ("d", "")]
            .map(|(uid, owner)| (uid.into(), of(owner)))
            .into_iter()
            .collect();
        let count = |all: &Owned<Of>| (all.of("web").count(), all.of("db").count(), all.len());
        assert_eq!(count(&all), (2, 1, 4));
        all.insert("b".into(), of("db"));
        assert_eq!(count(&all), (1, 2, 4), "it has another owner");
        all.remove("c");
        assert_eq!(count(&all), (1, 1, 3));
        all.retain(|uid, _| **uid != *"a");
        assert_eq!(count(&all), (0, 1, 2));
        all.clear();
        assert_eq!(count(&all), (0, 0, 0));
    }
}
