//! The volume of a claim goes to a claim of another name, and back: when, and when not.

use lockkeeper::{
    api::WorkloadKind,
    core::{
        hold::enforced::Enforcement,
        judge::Release,
        notice::{Event, StorageObject},
        observed::{Concerns, WorkloadId},
        volumes::{conversions, why_not_converted},
    },
};
use serde_json::{Value, json};

use crate::{
    unreadable::unreadable,
    world::{
        World,
        volumes::{claim, refused, shop, uses, volume},
    },
};

pub const PV: &str = "pv-data";

impl World {
    pub fn says(&mut self, name: &str, becomes: &str) {
        let mark = json!({"metadata": {"annotations": {"lockkeeper.dev/becomes": becomes}}});
        self.change(&claim(name), mark);
        self.act();
    }

    fn namespace_raw(&self) -> &Value {
        &self.storage_objects[&StorageObject::Namespace("shop".into())]
    }

    pub fn reserved(&self) -> Option<&str> {
        self.namespace_raw()["metadata"]["annotations"]["lockkeeper.dev/reserved-claims"].as_str()
    }

    /// The claim that the volume is for, by name and uid.
    pub fn holder(&self) -> (String, String) {
        let of = &self.volume_raw(PV)["spec"]["claimRef"];
        let text = |field: &str| of[field].as_str().unwrap_or_default().to_owned();
        (text("name"), text("uid"))
    }

    pub fn stage(&self) -> &'static str {
        let told = conversions(&self.namespace, &self.storage);
        told.first().map_or("", |one| one.stage)
    }

    pub fn told_now(&self) -> String {
        conversions(&self.namespace, &self.storage).pop().map(|one| one.message).unwrap_or_default()
    }

    /// A StatefulSet whose controller made a claim, which admission gave what is reserved.
    pub fn flip(&mut self) {
        let spec = json!({"containers": [{"name": "app"}]});
        self.workload(WorkloadKind::StatefulSet, "web-set", 1, spec);
        self.edit("web-set", |set| {
            set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}}]);
        });
        let waits = json!({
            "metadata": {"name": "data-web-set-0", "uid": "claim-new"}, "status": {"phase": "Pending"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "slow", "volumeName": PV, "resources": {"requests": {"storage": "5Gi"}}}
        });
        self.put(claim("data-web-set-0"), waits);
    }

    /// The claim of before is created again, and waits for the volume that it names.
    pub fn create_claim_again(&mut self, uid: &str) {
        let again = json!({
            "metadata": {"name": "data", "uid": uid}, "status": {"phase": "Pending"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "volumeName": PV, "resources": {"requests": {"storage": "1Gi"}}}
        });
        self.put(claim("data"), again);
    }

    /// The workload is gone, and so are its pods.
    pub fn remove(&mut self, kind: WorkloadKind, name: &str) {
        let gone: Vec<_> = self.pods(name).iter().map(|pod| pod.name.clone()).collect();
        self.namespace.workloads.remove(&WorkloadId { kind, name: name.into() });
        self.namespace.pods.retain(|_, pod| !gone.contains(&pod.name));
    }

    /// What the controller of volumes makes of it.
    pub fn bind(&mut self) {
        let (name, uid) = self.holder();
        let names: Vec<_> = self.namespace.claims.keys().cloned().collect();
        for one in names {
            let raw = self.claim_raw(&one).clone();
            if raw["spec"]["volumeName"] != PV {
                continue;
            }
            let is_it = one == name && raw["metadata"]["uid"] == uid;
            let was = raw["status"]["phase"].as_str().unwrap_or_default();
            let phase = if is_it {
                "Bound"
            } else if was == "Pending" {
                "Pending"
            } else {
                "Lost"
            };
            self.change(&claim(&one), json!({"status": {"phase": phase}}));
        }
    }

    /// Carries out one write of each decision only, the first or the last one of it.
    pub fn one_by_one(&mut self, last: bool) {
        for _ in 0..30 {
            let mut patches = self.decide().storage.into_iter();
            let Some((patch, _)) = (if last { patches.next_back() } else { patches.next() }) else {
                return;
            };
            assert_eq!(refused(self, &patch), None, "{patch:?}");
            let before = self.holder();
            self.store(&patch);
            let raw = self.volume_raw(PV);
            let kept = raw["spec"]["persistentVolumeReclaimPolicy"] == "Retain";
            let converts = !raw["metadata"]["annotations"]["lockkeeper.dev/conversion"].is_null();
            assert!(kept || !converts, "it is kept as long as it may change hands");
            assert!(
                self.holder() == before || (kept && converts && self.reserved().is_some()),
                "{patch:?}"
            );
        }
        panic!("it never rests");
    }

    pub fn prepared(volumes: Value) -> Self {
        let mut world = shop("ReadWriteOnce", volumes);
        world.act();
        world.says("data", "data-web-set-0");
        assert_eq!(world.stage(), "Prepared", "{}", world.told_now());
        world
    }

    pub fn converted(volumes: Value) -> Self {
        let mut world = Self::prepared(volumes);
        world.flip();
        world.remove(WorkloadKind::Deployment, "web");
        world.act();
        world.bind();
        world.act();
        assert_eq!(world.stage(), "Done", "{}", world.told_now());
        world
    }
}

#[test]
fn p25_both_names_are_reserved_before_anything_else_and_after_the_data_is_kept() {
    // Also where no policy protects the data.
    for volumes in [json!({}), json!({"protection": "None"})] {
        let mut world = shop("ReadWriteOnce", volumes);
        world.act();
        world.change(
            &claim("data"),
            json!({"metadata": {"annotations": {"lockkeeper.dev/becomes": "data-web-set-0"}}}),
        );
        for _ in 0..6 {
            let decision = world.decide();
            for (patch, _) in decision.storage {
                assert_eq!(refused(&world, &patch), None, "{patch:?}");
                world.store(&patch);
                let kept =
                    world.volume_raw(PV)["spec"]["persistentVolumeReclaimPolicy"] == "Retain";
                let marks = &world.volume_raw(PV)["metadata"]["annotations"];
                let converts = !marks["lockkeeper.dev/conversion"].is_null();
                assert!(kept || !converts, "kept first");
                assert!(converts || world.reserved().is_none(), "and then reserved");
            }
        }
        assert_eq!(world.reserved(), Some("data=pv-data,data-web-set-0=pv-data"));
        let labels = &world.namespace_raw()["metadata"]["labels"];
        assert_eq!(labels["lockkeeper.dev/reserves-claims"], "true");
        assert_eq!(world.stage(), "Prepared");
        assert_eq!(world.holder().0, "data", "nothing is handed over yet");
        assert!(world.decide().storage.is_empty(), "at rest nothing is written");
    }
    let world = World::prepared(json!({}));
    assert_eq!(world.told_of(Event::ClaimReserved), ["PersistentVolumeClaim/data"]);
}

#[test]
fn p25_the_volume_goes_when_nothing_uses_the_old_claim_and_comes_back_when_it_is_wanted_again() {
    let mut world = World::prepared(json!({}));
    let old = world.holder();
    world.flip();
    world.act();
    // The Deployment is still there, as with Argo CD without pruning.
    assert_eq!(world.holder(), old);
    assert!(world.told_now().contains("Deployment/web still uses it"), "{}", world.told_now());
    let (status, _, message) = world.volumes_safe();
    assert_eq!(status, "True", "{message}");
    // It is gone, and its pod is not.
    let id = WorkloadId { kind: WorkloadKind::Deployment, name: "web".into() };
    let deployment = world.namespace.workloads.remove(&id).unwrap();
    world.act();
    assert_eq!((world.stage(), world.holder()), ("Waiting", old.clone()));
    assert!(world.told_now().contains("not gone yet"), "{}", world.told_now());
    let pods = world.namespace.pods.values().filter(|pod| pod.claims.named.len() == 1);
    let uids: Vec<_> = pods.map(|pod| pod.uid.clone()).collect();
    let pod = world.namespace.pods.values().find(|pod| uids.contains(&pod.uid)).unwrap().clone();
    world.namespace.pods.retain(|_, pod| !uids.contains(&pod.uid));
    for (patch, _) in world.decide().storage {
        assert_eq!(refused(&world, &patch), None, "{patch:?}");
    }
    world.act();
    assert_eq!(world.holder(), ("data-web-set-0".to_owned(), "claim-new".to_owned()));
    assert_eq!(world.told_of(Event::VolumeHandedOver), ["PersistentVolumeClaim/data-web-set-0"]);
    world.bind();
    world.act();
    assert_eq!(
        (world.stage(), world.reserved()),
        ("Done", Some("data=pv-data,data-web-set-0=pv-data"))
    );
    let (status, _, message) = world.volumes_safe();
    assert_eq!(status, "True", "the old claim is Lost, and that is as it should be: {message}");
    assert_ne!(world.counts()["lost"], 1, "{}", world.counts());
    assert_eq!(world.counts()["protected"], 1, "its data counts once");
    assert!(world.told_of(Event::VolumeReadopted).is_empty());
    assert!(world.decide().storage.is_empty(), "at rest nothing is written");

    // helm rollback: the set goes, and the Deployment is there again.
    world.remove(WorkloadKind::StatefulSet, "web-set");
    world.namespace.workloads.insert(id, deployment);
    world.namespace.pods.insert(pod.uid.clone(), pod);
    world.act();
    assert_eq!(world.holder(), old, "the same claim, by its uid");
    world.bind();
    world.act();
    assert_eq!(world.stage(), "Prepared");
    assert!(world.decide().storage.is_empty(), "at rest nothing is written");
}

#[test]
fn p25_the_volume_goes_back_to_a_claim_that_was_deleted_and_created_again() {
    let mut world = World::converted(json!({}));
    world.storage_objects.remove(&claim("data"));
    world.namespace.claims.remove("data");
    world.act();
    assert_eq!(world.stage(), "Done");
    world.remove(WorkloadKind::StatefulSet, "web-set");
    world.workload(WorkloadKind::Deployment, "web", 1, uses("data"));
    world.create_claim_again("claim-again");
    world.act();
    assert_eq!(world.holder(), ("data".to_owned(), "claim-again".to_owned()));
}

/// Helm deletes a claim that is not marked to be kept, before its volume is handed over.
#[test]
fn p25_a_volume_whose_claim_was_deleted_goes_to_the_claim_that_is_wanted() {
    let mut world = World::prepared(json!({}));
    world.remove(WorkloadKind::Deployment, "web");
    world.lose_claim("data");
    world.act();
    assert_eq!(world.holder().0, "data", "it waits for one of the two");
    assert!(!world.holder().1.is_empty(), "and is free for no other");
    assert_eq!(world.counts()["orphaned"], 1, "it is not forgotten");
    world.flip();
    world.act();
    assert_eq!(world.holder(), ("data-web-set-0".to_owned(), "claim-new".to_owned()));
    // Or the old one comes again.
    let mut world = World::prepared(json!({}));
    world.lose_claim("data");
    world.create_claim_again("claim-again");
    world.act();
    assert_eq!(
        world.holder(),
        ("data".to_owned(), String::new()),
        "the binder gives it the volume"
    );
}

#[test]
fn p25_each_stage_can_be_taken_back() {
    // Prepared: the names are free again, and the word is used up.
    let mut world = World::prepared(json!({}));
    world.says("data", "data");
    assert_eq!((world.stage(), world.reserved()), ("", None));
    assert!(
        world.namespace_raw()["metadata"]["labels"]["lockkeeper.dev/reserves-claims"].is_null()
    );
    assert!(world.claim_raw("data")["metadata"]["annotations"]["lockkeeper.dev/becomes"].is_null());
    assert_eq!(world.told_of(Event::ConversionEnded), ["PersistentVolumeClaim/data"]);
    assert_eq!(world.volume_raw(PV)["spec"]["persistentVolumeReclaimPolicy"], "Retain");

    // The set is there: it would get an empty volume, so the names stay until it is gone.
    let mut world = World::prepared(json!({}));
    world.flip();
    world.says("data", "data");
    assert_eq!(world.stage(), "Ending");
    assert!(world.told_now().contains("StatefulSet/web-set is deleted"), "{}", world.told_now());
    assert!(world.reserved().is_some());
    world.remove(WorkloadKind::StatefulSet, "web-set");
    world.act();
    assert_eq!((world.stage(), world.reserved(), world.holder().0), ("", None, "data".to_owned()));

    // Done: the new claim keeps it, and the old one may be deleted.
    let mut world = World::converted(json!({}));
    world.says("data-web-set-0", "data-web-set-0");
    assert_eq!((world.stage(), world.reserved()), ("", None));
    assert_eq!(world.holder().0, "data-web-set-0");
    let left = &world.claim_raw("data")["metadata"];
    assert!(left["labels"]["lockkeeper.dev/retained"].is_null(), "{left}");
    assert!(left["annotations"]["helm.sh/resource-policy"].is_null(), "{left}");
    let (status, _, message) = world.volumes_safe();
    assert_eq!(status, "True", "{message}");
    assert!(world.decide().storage.is_empty(), "at rest nothing is written");
}

#[test]
fn data_that_was_kept_for_the_conversion_only_gets_its_reclaim_policy_back() {
    let mut world = World::converted(json!({"protection": "None"}));
    assert_eq!(world.volume_raw(PV)["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    // What gives protection up waits until the conversion is over.
    let gives_up = json!({"metadata": {"annotations": {"lockkeeper.dev/unprotect": PV}}});
    world.change(&claim("data-web-set-0"), gives_up);
    world.act();
    assert_eq!(world.volume_raw(PV)["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    world.says("data-web-set-0", "data-web-set-0");
    assert_eq!(world.volume_raw(PV)["spec"]["persistentVolumeReclaimPolicy"], "Delete");
    assert!(world.volume_raw(PV)["metadata"]["labels"]["lockkeeper.dev/retained"].is_null());
    assert!(world.decide().storage.is_empty(), "at rest nothing is written");
}

#[test]
fn what_cannot_be_handed_over_is_refused_in_a_sentence_and_nothing_is_changed() {
    type Change = fn(&mut World);
    let cases: [(&str, Change, &str); 8] = [
        (
            "data-web-set-0",
            |world| world.claim("data-web-set-0", "ReadWriteOnce"),
            "claim data-web-set-0 exists already",
        ),
        (
            "data-web-set-0",
            |world| world.edit("web", |web| web["spec"]["replicas"] = json!(2)),
            "Deployment/web runs 2 pods on it",
        ),
        (
            "data-web-set-0",
            |world| world.workload(WorkloadKind::Deployment, "other", 1, uses("data")),
            "Deployment/other and Deployment/web use it",
        ),
        (
            "data-web-set-0",
            |world| world.change(&volume(PV), json!({"spec": {"accessModes": ["ReadWriteMany"]}})),
            "several pods may use its volume pv-data",
        ),
        ("Data", |_| {}, "this is no name of a claim"),
        (
            "data-web-set-0",
            |world| {
                world.change(
                    &volume(PV),
                    json!({"metadata": {"deletionTimestamp": "2026-11-20T09:00:00Z"}}),
                )
            },
            "its volume pv-data is being deleted",
        ),
        (
            "data-web-set-0",
            |world| {
                world.claim("more", "ReadWriteOnce");
                world.workload(WorkloadKind::Deployment, "more", 1, uses("more"));
                world.act();
                world.says("more", "data-web-set-0");
            },
            "that name is reserved for volume pv-more",
        ),
        (
            "data-web-set-0",
            |world| world.enforcement = Enforcement::new(&Release::new("lockkeeper-system", "")),
            "MutatingAdmissionPolicy lockkeeper-reserve is not installed",
        ),
    ];
    for (becomes, change, sentence) in cases {
        let mut world = shop("ReadWriteOnce", json!({}));
        world.act();
        change(&mut world);
        let here = why_not_converted(&world.namespace, &world.storage, "data", becomes);
        world.says("data", becomes);
        let (status, _, message) = world.volumes_safe();
        assert!(status == "False" && message.contains(sentence), "{sentence}: {message}");
        assert!(world.told_of(Event::ConversionRefused).contains(&"PersistentVolumeClaim/data"));
        let marks = &world.volume_raw(PV)["metadata"]["annotations"];
        assert!(marks["lockkeeper.dev/conversion"].is_null(), "{sentence}");
        // The plugin says it beforehand, but for what is wrong with the installation.
        if !sentence.contains("lockkeeper-reserve") {
            assert!(here.as_ref().is_some_and(|why| why.contains(sentence)), "{here:?}");
        }
    }
    let world = shop("ReadWriteOnce", json!({}));
    assert_eq!(why_not_converted(&world.namespace, &world.storage, "data", "data-web-0"), None);
}

#[test]
fn an_installation_without_the_feature_hands_nothing_over_and_says_which_value_does() {
    let mut world = shop("ReadWriteOnce", json!({}));
    world.act();
    world.enforcement = Enforcement::default()
        .without_conversion(Some("the feature conversion is turned off".to_owned()));
    world.says("data", "data-web-set-0");
    let (_, reason, message) = world.volumes_safe();
    assert_eq!(reason, "ConversionRefused");
    assert!(message.contains("the feature conversion is turned off"), "{message}");
    assert_eq!(world.reserved(), None);
}

/// A set that was deployed before the reservation was there.
#[test]
fn a_claim_that_came_too_early_is_told_and_gets_nothing() {
    let mut world = World::prepared(json!({}));
    world.flip();
    let other = json!({"spec": {"volumeName": "pv-empty"}});
    world.change(&claim("data-web-set-0"), other);
    world.remove(WorkloadKind::Deployment, "web");
    world.act();
    assert_eq!((world.stage(), world.holder().0), ("Conflict", "data".to_owned()));
    let (status, _, message) = world.volumes_safe();
    assert_eq!(status, "False");
    assert!(message.contains("Scale the workload to 0, delete this claim"), "{message}");
}

#[test]
fn nothing_is_handed_over_while_something_that_may_use_it_cannot_be_read() {
    let mut world = World::prepared(json!({}));
    world.flip();
    world.remove(WorkloadKind::Deployment, "web");
    unreadable(&mut world, "Pod", "stray", Concerns::ControlledBy("uid-stray".into()));
    world.act();
    assert_eq!(world.holder().0, "data");
}
