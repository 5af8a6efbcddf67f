//! What acts on workloads in our place.

use jiff::Timestamp;

use super::{Effects, InNamespace, Listing, Seen};
use crate::{
    core::{
        observed::{Concerns, Namespace, Uid},
        rest::News,
    },
    shell::{
        streams::Object,
        views::{Delegate, Delegates},
    },
};

impl<D: Delegate> InNamespace for Delegates<D> {
    fn insert(
        namespace: &mut Namespace,
        object: Object<Self>,
        _seen: Seen,
        _effects: &mut Effects,
    ) -> Option<News> {
        let id = (D::KIND.to_owned(), object.name);
        let before = match object.view.clone() {
            Some(workload) => namespace.delegates.insert(id, workload),
            None => namespace.delegates.remove(&id),
        };
        (before != object.view).then(News::whole)
    }

    fn remove(
        namespace: &mut Namespace,
        object: &Object<Self>,
        _now: Timestamp,
        _effects: &mut Effects,
    ) -> News {
        namespace.delegates.remove(&(D::KIND.to_owned(), object.name.clone()));
        News::whole()
    }

    fn retain(namespace: &mut Namespace, listing: &Listing, _seen: Seen, _effects: &mut Effects) {
        let Namespace { name, delegates, .. } = namespace;
        delegates.retain(|(kind, delegate), _| kind != D::KIND || listing.names(name, delegate));
    }

    fn known<'a>(_namespace: &'a Namespace, _object: &Object<Self>) -> Option<&'a Uid> {
        None
    }

    fn concerns(object: &Object<Self>, _path: &str) -> Concerns {
        object.view.clone().map_or(Concerns::Nobody, Concerns::Workload)
    }
}
